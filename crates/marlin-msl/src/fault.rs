//! What can be wrong with a kernel: where, what was found, what was expected.

use std::{fmt, path::PathBuf};

/// Why a kernel cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no compiler.
    #[error(
        "no clang of version {oldest} or later: looked for {looked_for}; \
         install Debian's clang-19, or name one in MARLIN_CLANG"
    )]
    NoCompiler {
        /// The oldest version that will do.
        oldest: u32,
        /// Names that were tried, with what came of it.
        looked_for: String,
    },
    /// The text is not what this crate can take.
    #[error("{kernel}: {message}")]
    Compile {
        /// The kernel's name.
        kernel: String,
        /// The compiler's first lines.
        message: String,
    },
    /// The kernel's head has something unknown.
    #[error("{kernel}: {found}, expected one kernel with an argument a line as naga writes them")]
    Signature {
        /// The kernel's name.
        kernel: String,
        /// What is not understood.
        found: String,
    },
    /// The compiled kernel cannot be loaded.
    #[error("{kernel}: {source}")]
    Load {
        /// The kernel's name.
        kernel: String,
        /// The loader's word.
        source: libloading::Error,
    },
    /// A file of the cache cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
}

/// What went wrong in a run of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The kernel's name.
    pub kernel: String,
    /// The threadgroup it happened in, if one was running.
    pub threadgroup: Option<[u32; 3]>,
    /// The thread's index in its threadgroup, if it was one thread.
    pub thread: Option<u32>,
    /// The line of the text, where it is known.
    pub line: Option<u32>,
    /// What it is.
    pub kind: FaultKind,
}

/// Kinds of faults.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum FaultKind {
    /// An access outside of a buffer or a variable of the threadgroup.
    OutOfBounds {
        /// Whose neighbourhood was touched, as `buffer(1) arena` or `threadgroup halves`.
        of: String,
        /// Where, in bytes from its start.
        byte: i64,
        /// Its size.
        len: usize,
    },
    /// An access far from everything the kernel was given.
    WildAccess {
        /// The address.
        address: usize,
    },
    /// Something the language leaves undefined.
    Undefined {
        /// What it is.
        what: String,
    },
    /// An operation makes an infinity or a NaN of numbers.
    NotFinite {
        /// How.
        what: &'static str,
    },
    /// Two accesses, one of which writes, and nothing orders them.
    Race {
        /// The memory, as above.
        of: String,
        /// Where in it.
        byte: i64,
        /// What the thread does, as `writes`.
        one: &'static str,
        /// What another one did.
        other: &'static str,
        /// The other's threadgroup.
        other_threadgroup: [u32; 3],
        /// The other's index in it.
        other_thread: u32,
        /// The other's line of the text, where it is known.
        other_line: Option<u32>,
    },
    /// A read of threadgroup memory that nobody has written.
    Unwritten {
        /// The variable.
        of: String,
        /// Where in it.
        byte: i64,
    },
    /// Threads that must meet do not.
    Divergence {
        /// Where one of them is.
        one: String,
        /// Where another one is.
        other: String,
        /// The other thread's index.
        other_thread: u32,
    },
    /// More than an Apple GPU has.
    Limit {
        /// What is limited.
        what: &'static str,
        /// What the kernel asks for.
        found: usize,
        /// What there is.
        most: usize,
    },
    /// A buffer that the kernel takes and nobody bound.
    Unbound {
        /// `buffer(1) arena`.
        buffer: String,
    },
    /// Threads that do not come to an end.
    NeverEnds {
        /// What was exhausted.
        after: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kernel)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some([x, y, z]) = self.threadgroup {
            write!(f, ", threadgroup ({x}, {y}, {z})")?;
        }
        if let Some(thread) = self.thread {
            write!(f, ", thread {thread}")?;
        }
        write!(f, ": {}", self.kind)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfBounds { of, byte, len } => {
                write!(f, "access at byte {byte} of {of}, which has {len}")
            }
            Self::WildAccess { address } => {
                write!(f, "access at {address:#x}, expected one in a buffer or threadgroup memory")
            }
            Self::Undefined { what } => write!(f, "{what}, which is undefined"),
            Self::Divergence { one, other, other_thread } => {
                write!(f, "{one}, expected all threads there; thread {other_thread} {other}")
            }
            Self::NotFinite { what } => write!(f, "{what}, expected finite numbers everywhere"),
            Self::Race { of, byte, one, other, other_threadgroup: [x, y, z], other_thread, other_line } => {
                let line = other_line.map(|line| format!(" in line {line}")).unwrap_or_default();
                write!(f, "{one} byte {byte} of {of}, which thread {other_thread} of threadgroup ")?;
                write!(f, "({x}, {y}, {z}) {other}{line} with nothing to order them")
            }
            Self::Unwritten { of, byte } => {
                write!(f, "reads byte {byte} of {of}, expected one that was written")
            }
            Self::Limit { what, found, most } => write!(f, "{found} {what}, expected at most {most}"),
            Self::Unbound { buffer } => write!(f, "{buffer} is not bound"),
            Self::NeverEnds { after } => write!(f, "still running after {after}"),
        }
    }
}

impl std::error::Error for Fault {}

//! What stopped a thread, in words of the kernel's text.

use std::iter;

use crate::{
    FaultKind,
    grid::Grid,
    lines, machine,
    races::{Access, Finding},
    threads::{Stop, Thread},
    trap::Trap,
};

/// What happened in one threadgroup, to which thread, in which line.
pub struct Trouble {
    /// The thread's index.
    pub thread: Option<u32>,
    /// The line.
    pub line: Option<u32>,
    /// What it was.
    pub kind: FaultKind,
}

impl Grid<'_> {
    /// Finds the words.
    pub fn explain(&self, thread: &Thread, stop: Stop) -> Trouble {
        let (line, kind) = match stop {
            Stop::Undefined { what, line } => (Some(line), FaultKind::Undefined { what }),
            Stop::Found(found) => {
                let (place, finding) = *found;
                let (of, byte) = (place.of, place.byte);
                match finding {
                    Finding::Unwritten { one } => (self.line_of(&one), FaultKind::Unwritten { of, byte }),
                    Finding::Race { one, other } => {
                        let kind = FaultKind::Race {
                            of,
                            byte,
                            one: one.verb(),
                            other: other.verb(),
                            other_threadgroup: self.position(u64::from(other.group)),
                            other_thread: other.thread,
                            other_line: self.line_of(&other),
                        };
                        (self.line_of(&one), kind)
                    }
                }
            }
            Stop::Trap(trapped) => {
                // An instruction of a collective has no line of its own: its caller's was noted as it met.
                // A function of the system's libraries has a caller on the stack.
                let callers = trapped.stack.iter().filter(|word| **word > 0).map(|word| word - 1);
                let line = lines::line_of(self.code, iter::once(trapped.pc).chain(callers));
                (line.or(Some(thread.last_line).filter(|line| *line > 0)), self.meaning(trapped.trap))
            }
        };
        Trouble { thread: Some(thread.invocation.index_in_threadgroup), line, kind }
    }

    fn meaning(&self, trap: Trap) -> FaultKind {
        match trap {
            Trap::Arithmetic { code } => machine::arithmetic(code),
            Trap::Compiler { kind } => FaultKind::Undefined { what: machine::trap_name(kind) },
            Trap::TooLong => FaultKind::NeverEnds { after: format!("{:?}", self.launch.patience) },
            Trap::Access { address } => {
                let shared = self.shared.iter().map(|(name, memory)| (name, memory));
                let buffers = self.buffers.iter().map(|(name, memory)| (name, *memory));
                match shared.chain(buffers).find(|(_, memory)| memory.reach().contains(&address)) {
                    Some((of, memory)) => FaultKind::OutOfBounds {
                        of: of.clone(),
                        byte: address as i64 - memory.address() as i64,
                        len: memory.len(),
                    },
                    None => FaultKind::WildAccess { address },
                }
            }
        }
    }

    fn line_of(&self, access: &Access) -> Option<u32> {
        // The site is where the call returns to, which may be the next line.
        lines::line_of(self.code, iter::once(access.site - 1))
            .or(Some(access.last_line).filter(|line| *line > 0))
    }
}

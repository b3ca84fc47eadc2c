//! What a kernel asks for, read from its text, and the trampoline that hands it over.
//!
//! naga writes one argument a line.

use std::fmt::Write;

use crate::Error;

/// An argument of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// A buffer, by reference or pointer.
    Buffer {
        /// `[[buffer(slot)]]`.
        slot: u32,
        /// The argument's name.
        name: String,
        /// Its type without `&` or `*`.
        of: String,
        /// Whether it is a reference.
        reference: bool,
    },
    /// A variable of the threadgroup.
    Shared {
        /// The argument's name.
        name: String,
        /// Its type without `&`.
        of: String,
    },
    /// A position, index or count.
    Attribute {
        /// The attribute's name.
        name: String,
        /// The type it is wanted in.
        of: String,
    },
}

/// The head of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    /// The function's name.
    pub entry: String,
    /// `[[max_total_threads_per_threadgroup(n)]]`.
    pub max_threads: Option<u32>,
    /// Its arguments, in order.
    pub arguments: Vec<Argument>,
}

/// Attributes, and the fields of an invocation that answer them (5.2.3.6).
const ATTRIBUTES: &[(&str, &str)] = &[
    ("simdgroup_index_in_threadgroup", "simdgroup_index"),
    ("simdgroups_per_threadgroup", "simdgroups"),
    ("thread_index_in_simdgroup", "lane"),
    ("thread_index_in_threadgroup", "index_in_threadgroup"),
    ("thread_position_in_grid", "position_in_grid"),
    ("thread_position_in_threadgroup", "position_in_threadgroup"),
    ("threadgroup_position_in_grid", "threadgroup_position"),
    ("threadgroups_per_grid", "threadgroups"),
    ("threads_per_grid", "threads_per_grid"),
    ("threads_per_simdgroup", "simdgroup_size"),
    ("threads_per_threadgroup", "threads_per_threadgroup"),
];

impl Signature {
    /// Reads the one kernel of a text.
    pub fn parse(kernel: &str, text: &str) -> Result<Self, Error> {
        let fail = |found: String| Error::Signature { kernel: kernel.into(), found };
        let mut heads = text.lines().enumerate().filter(|(_, line)| line.contains("kernel void "));
        let (at, head) = heads.next().ok_or_else(|| fail("no `kernel void`".into()))?;
        if heads.next().is_some() {
            return Err(fail("more than one `kernel void`".into()));
        }
        let (before, after) = head.split_once("kernel void ").unwrap_or_default();
        let entry = after.trim_end().trim_end_matches('(').trim();
        let max_threads = match before.split_once("max_total_threads_per_threadgroup(") {
            Some((_, rest)) => {
                let number = rest.split(')').next().unwrap_or_default();
                Some(number.parse().map_err(|_| fail(format!("{number} threads per threadgroup")))?)
            }
            None => None,
        };
        let lines = text.lines().skip(at + 1).map(str::trim);
        let arguments = lines
            .take_while(|line| !line.starts_with(')'))
            .map(|line| line.trim_start_matches(',').trim_end_matches(',').trim())
            .filter(|line| !line.is_empty())
            .map(|line| argument(line).ok_or_else(|| fail(format!("argument `{line}`"))))
            .collect::<Result<_, _>>()?;
        Ok(Self { entry: entry.into(), max_threads, arguments })
    }

    /// Names and slots of the buffers.
    pub fn buffers(&self) -> impl Iterator<Item = (u32, &str)> {
        self.arguments.iter().filter_map(|argument| match argument {
            Argument::Buffer { slot, name, .. } => Some((*slot, name.as_str())),
            _ => None,
        })
    }

    /// Whether each buffer may be written.
    pub fn writable(&self) -> impl Iterator<Item = bool> {
        self.arguments.iter().filter_map(|argument| match argument {
            Argument::Buffer { of, .. } => {
                Some(!of.split(' ').any(|word| matches!(word, "const" | "constant")))
            }
            _ => None,
        })
    }

    /// Names of the threadgroup's variables.
    pub fn shared(&self) -> impl Iterator<Item = &str> {
        self.arguments.iter().filter_map(|argument| match argument {
            Argument::Shared { name, .. } => Some(name.as_str()),
            _ => None,
        })
    }

    /// C++ that calls the kernel with what a `marlin::Invocation` holds, and exports what the host must know.
    pub fn trampoline(&self) -> String {
        let mut call = String::new();
        let mut shared = Vec::new();
        for argument in &self.arguments {
            let comma = if call.is_empty() { "" } else { ",\n" };
            let _ = match argument {
                Argument::Buffer { slot, of, reference, .. } => {
                    let star = if *reference { "*" } else { "" };
                    write!(call, "{comma}        {star}({of}*)invocation->buffers[{slot}]")
                }
                Argument::Shared { of, .. } => {
                    shared.push(of);
                    write!(call, "{comma}        *({of}*)invocation->shared[{}]", shared.len() - 1)
                }
                Argument::Attribute { name, of } => {
                    let field = ATTRIBUTES.iter().find(|(attribute, _)| attribute == name);
                    let field = field.map_or(name.as_str(), |(_, field)| field);
                    write!(call, "{comma}        marlin::argument<{of}>(invocation->{field})")
                }
            };
        }
        let list = |of: &str| shared.iter().map(|each| format!("{of}({each}), ")).collect::<String>();
        format!(
            "static void marlin_run(const marlin::Invocation* invocation) {{\n    {entry}(\n{call});\n}}\n\
             static const unsigned marlin_sizes[] = {{{sizes}0}};\n\
             static const unsigned marlin_alignments[] = {{{alignments}0}};\n\
             MARLIN_EXPORT(marlin_run, marlin_sizes, marlin_alignments)\n",
            entry = self.entry,
            sizes = list("sizeof"),
            alignments = list("alignof"),
        )
    }
}

fn argument(line: &str) -> Option<Argument> {
    let (declared, attribute) = match line.split_once("[[") {
        Some((declared, rest)) => (declared.trim(), Some(rest.strip_suffix("]]")?.trim())),
        None => (line, None),
    };
    let (of, name) = declared.rsplit_once(' ')?;
    let (of, name) = (of.trim(), name.to_owned());
    let pointee = of.strip_suffix('&').or_else(|| of.strip_suffix('*')).map(str::trim);
    match (attribute, pointee) {
        (None, Some(pointee)) => {
            let of = pointee.strip_prefix("threadgroup ")?.to_owned();
            Some(Argument::Shared { name, of })
        }
        (Some(attribute), Some(pointee)) => {
            let slot = attribute.strip_prefix("buffer(")?.strip_suffix(')')?.parse().ok()?;
            Some(Argument::Buffer { slot, name, of: pointee.into(), reference: of.ends_with('&') })
        }
        (Some(attribute), None) => {
            ATTRIBUTES.iter().find(|(known, _)| *known == attribute)?;
            Some(Argument::Attribute { name: attribute.into(), of: of.into() })
        }
        (None, None) => None,
    }
}

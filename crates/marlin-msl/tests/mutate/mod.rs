//! Changes to a Metal source as naga writes it, each of one place, each of a kind that people make.

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    /// A barrier is left out.
    Barrier,
    /// An element is stored beside its place.
    Shift,
    /// A matrix is loaded or stored the other way round.
    Transposition,
    /// An array of the threadgroup has one element.
    Shrink,
    /// An infinity stands for the least number.
    Infinity,
}

/// A changed source.
#[derive(Clone, Debug)]
pub struct Mutant {
    pub operator: Operator,
    /// The line as it was, its function and which of its kind there it is; or the declaration.
    pub change: String,
    pub text: String,
    /// The source as it was, but for a trap before the line: who reaches the line is caught. None where the
    /// line is a declaration.
    pub probe: Option<String>,
}

/// All mutants of a source.
pub fn mutants(text: &str) -> Vec<Mutant> {
    let lines: Vec<&str> = text.lines().collect();
    let mut mutants = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let changed = [
            (Operator::Barrier, without_barrier(line)),
            (Operator::Shift, shifted(line)),
            (Operator::Transposition, transposed(line)),
            (Operator::Infinity, infinite(line)),
            (Operator::Shrink, shrunk(text, at, line)),
        ];
        for (operator, changed) in changed {
            let Some(changed) = changed else { continue };
            let with = |line: &str| [&lines[..at], &[line], &lines[at + 1..]].concat().join("\n");
            let declares = matches!(operator, Operator::Infinity | Operator::Shrink);
            let place = format!("{} ({}", line.trim(), function(&lines[..at]));
            let alike = |it: &&Mutant| it.operator == operator && it.change.starts_with(&place);
            let change = match declares {
                true => line.trim().to_owned(),
                false => format!("{place} #{})", mutants.iter().filter(alike).count() + 1),
            };
            let probe = (!declares).then(|| with(&format!("__builtin_trap(); {line}")));
            mutants.push(Mutant { operator, change, text: with(&changed), probe });
        }
    }
    mutants
}

/// The function that the line after `lines` is in.
fn function<'a>(lines: &[&'a str]) -> &'a str {
    let head = |line: &&&str| line.ends_with('(') && !line.starts_with(' ');
    let head = lines.iter().rfind(head).copied().unwrap_or_default();
    head.trim_end_matches('(').rsplit(' ').next().unwrap_or_default()
}

fn without_barrier(line: &str) -> Option<String> {
    line.trim().starts_with("metal::threadgroup_barrier(").then(String::new)
}

/// `x[at] = value;` becomes `x[(at) + 1u] = value;`.
fn shifted(line: &str) -> Option<String> {
    let (place, value) = line.split_once("] = ")?;
    let (array, index) = place.split_once('[')?;
    let name = array.trim().trim_end_matches(".inner");
    let word = name.chars().all(|char| char.is_alphanumeric() || char == '_');
    (word && balanced(index)).then(|| format!("{array}[({index}) + 1u] = {value}"))
}

/// Whether a text has as many brackets of each kind opened as closed.
fn balanced(text: &str) -> bool {
    [('(', ')'), ('[', ']')]
        .iter()
        .all(|(open, close)| text.matches(*open).count() == text.matches(*close).count())
}

fn transposed(line: &str) -> Option<String> {
    if line.contains("NagaCooperativeLoad(&") {
        return line
            .strip_suffix(", false);")
            .map(|rest| format!("{rest}, true);"))
            .or_else(|| line.strip_suffix(", true);").map(|rest| format!("{rest}, false);")));
    }
    let stores = line.trim().starts_with("simdgroup_store(");
    stores.then(|| line.replace(");", ", 0, true);")).filter(|_| !line.contains("true"))
}

fn infinite(line: &str) -> Option<String> {
    let (name, _) = line.strip_prefix("constant float LOWEST")?.split_once('=')?;
    Some(format!("constant float LOWEST{name}= -1.0 / 0.0;"))
}

/// `T inner[N];` in a type of a threadgroup argument becomes `T inner[1];`.
fn shrunk(text: &str, at: usize, line: &str) -> Option<String> {
    let (element, count) = line.strip_suffix("];")?.split_once(" inner[")?;
    let name = text.lines().nth(at.checked_sub(1)?)?.strip_prefix("struct ")?.strip_suffix(" {")?;
    let several = count.parse().is_ok_and(|count: usize| count > 1);
    (several && text.contains(&format!("threadgroup {name}& "))).then(|| format!("{element} inner[1];"))
}

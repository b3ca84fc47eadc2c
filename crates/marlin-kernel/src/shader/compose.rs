//! Puts one WGSL source together from a shader, the snippets it imports and a variant's constants.
//! Knows no file system and no device; the build script and the library share it.

/// A composed source, and where each of its lines comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// WGSL.
    pub text: String,
    /// For every line of `text`: the file (a path below `src`, without `.wgsl`) and its line, from 1.
    pub origins: Vec<(String, usize)>,
}

impl Source {
    /// `matmul/matvec.wgsl:17` for line 17 of the text, or of whatever file the line came from.
    pub fn origin(&self, line: usize) -> String {
        match self.origins.get(line.saturating_sub(1)) {
            Some((file, line)) => format!("{file}.wgsl:{line}"),
            None => format!("line {line} of the composed source"),
        }
    }
}

/// Composes `shader`. A line `//#import NAME` is replaced, once, by the file that `slots` gives for NAME;
/// without a slot NAME is a path below `src`, or the name of a snippet in `src/shader`. `enable` lines
/// move to the top and `constants` follow them.
///
/// # Errors
/// A file that `files` does not have, with the line that wants it.
pub fn compose<'a>(
    files: &dyn Fn(&str) -> Option<&'a str>,
    shader: &str,
    slots: &[(&str, &str)],
    constants: &[(&str, u32)],
) -> Result<Source, String> {
    let mut parts = Parts { files, slots, included: Vec::new(), enables: Vec::new(), body: Vec::new() };
    parts.include(shader, "the table of shaders")?;
    let mut lines = parts.enables;
    for (name, value) in constants {
        lines.push((format!("const {name}: u32 = {value}u;"), ("the variant".to_owned(), 1)));
    }
    lines.extend(parts.body);
    let mut source = Source { text: String::new(), origins: Vec::new() };
    for (line, origin) in lines {
        source.text.push_str(&line);
        source.text.push('\n');
        source.origins.push(origin);
    }
    Ok(source)
}

type Line = (String, (String, usize));

struct Parts<'f, 'a> {
    files: &'f dyn Fn(&str) -> Option<&'a str>,
    slots: &'f [(&'f str, &'f str)],
    included: Vec<String>,
    enables: Vec<Line>,
    body: Vec<Line>,
}

impl Parts<'_, '_> {
    fn include(&mut self, file: &str, from: &str) -> Result<(), String> {
        if self.included.iter().any(|included| included == file) {
            return Ok(());
        }
        self.included.push(file.to_owned());
        let text = (self.files)(file).ok_or_else(|| format!("{from}: there is no {file}.wgsl"))?;
        for (at, line) in text.lines().enumerate() {
            let origin = (file.to_owned(), at + 1);
            if let Some(name) = line.trim().strip_prefix("//#import ") {
                let name = name.trim();
                let slot = self.slots.iter().find(|(slot, _)| *slot == name);
                let import = match slot {
                    Some((_, file)) => (*file).to_owned(),
                    None if name.contains('/') => name.to_owned(),
                    None => format!("shader/{name}"),
                };
                self.include(&import, &format!("{file}.wgsl:{}", at + 1))?;
            } else if line.starts_with("enable ") {
                if !self.enables.iter().any(|(enabled, _)| enabled == line) {
                    self.enables.push((line.to_owned(), origin));
                }
            } else {
                self.body.push((line.to_owned(), origin));
            }
        }
        Ok(())
    }
}

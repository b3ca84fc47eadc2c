//! Where Hugging Face's templates lean on Python: `json.dumps`, what is iterable, and the `{% generation %}`
//! tag.
//!
//! Output is byte for byte that of Python's json module for every value a template can hold.

use std::fmt::Write;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

/// Nesting at which a value is refused; JSON from a client has at most 128 levels.
const MAX_DEPTH: usize = 200;
/// Widest indent taken literally.
const MAX_INDENT: usize = 16;
/// Bytes that one unit of fuel pays for, as in minijinja.
const BYTES_PER_FUEL: usize = 64;

/// The filter `tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub(super) fn tojson(state: &State, value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<(String, String)> =
        options.get::<Option<Vec<String>>>("separators")?.and_then(|pair| {
            let [item, key] = <[String; 2]>::try_from(pair).ok()?;
            Some((item, key))
        });
    let ensure_ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let item_end = if indent.is_some() { "," } else { ", " };
    let (item, key) = separators.unwrap_or_else(|| (item_end.to_owned(), ": ".to_owned()));
    let mut writer = Writer { state, out: String::new(), indent, item, key, ensure_ascii, sort_keys };
    writer.value(value, 0)?;
    Ok(Value::from(writer.out))
}

/// The test `iterable`: unlike in Jinja's own, None is not.
pub(super) fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// Python's `json.dumps`, with nesting bounded by [`MAX_DEPTH`] and everything else by the template's fuel.
struct Writer<'a> {
    state: &'a State<'a, 'a>,
    out: String,
    indent: Option<usize>,
    item: String,
    key: String,
    ensure_ascii: bool,
    sort_keys: bool,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(invalid(format!("tojson: value is nested deeper than {MAX_DEPTH} levels")));
        }
        let text_len = value.as_str().map_or(0, str::len);
        self.state.consume_fuel(1 + (text_len / BYTES_PER_FUEL) as u64)?;
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => self.out.push_str(&value.to_string()),
            ValueKind::Number => self.out.push_str(&float(f64::try_from(value.clone())?)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth)?,
            ValueKind::Map => self.map(value, depth)?,
            kind => return Err(invalid(format!("tojson: a value of type {kind} is not JSON"))),
        }
        Ok(())
    }

    fn list(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut is_empty = true;
        for item in value.try_iter()? {
            self.before_item(is_empty, depth + 1);
            is_empty = false;
            self.value(&item, depth + 1)?;
        }
        self.after_items(is_empty, depth);
        self.out.push(']');
        Ok(())
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let mut keys: Vec<Value> = value.try_iter()?.collect();
        if self.sort_keys {
            keys.sort();
        }
        self.out.push('{');
        let is_empty = keys.is_empty();
        for (index, key) in keys.iter().enumerate() {
            self.before_item(index == 0, depth + 1);
            match key.kind() {
                ValueKind::String => self.string(key.as_str().unwrap_or_default()),
                // Python writes other keys as the text of their JSON.
                ValueKind::None | ValueKind::Bool | ValueKind::Number => {
                    self.out.push('"');
                    self.value(key, depth + 1)?;
                    self.out.push('"');
                }
                kind => return Err(invalid(format!("tojson: a key of type {kind} is not JSON"))),
            }
            let separator = std::mem::take(&mut self.key);
            self.out.push_str(&separator);
            self.key = separator;
            self.value(&value.get_item(key)?, depth + 1)?;
        }
        self.after_items(is_empty, depth);
        self.out.push('}');
        Ok(())
    }

    fn before_item(&mut self, is_first: bool, depth: usize) {
        if !is_first {
            self.out.push_str(&self.item);
        }
        self.new_line(depth);
    }

    fn after_items(&mut self, is_empty: bool, depth: usize) {
        if !is_empty {
            self.new_line(depth);
        }
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent.min(MAX_INDENT) * depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.ensure_ascii && !matches!(c, ' '..='~')) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        write!(self.out, "\\u{unit:04x}").expect("a String takes every write");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// A float as Python's `repr` writes it: the shortest digits that read back equal, in scientific notation
/// below 1e-4 and from 1e16 on.
fn float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) && number != 0.0 => {
            format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
        }
        _ => format!("{number:?}"),
    }
}

/// Replaces the tags `{% generation %}` and `{% endgeneration %}`, which mark the assistant's text for
/// training, by a condition that always holds: they write nothing themselves.
pub(super) fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let (before, tag) = rest.split_at(open + 2);
        out.push_str(before);
        rest = tag;
        let Some(close) = tag.find("%}") else { break };
        let inner = &tag[..close];
        let sign = |c: char| matches!(c, '-' | '+');
        let word = inner.trim_start_matches(sign).trim_end_matches(sign).trim();
        let replacement = match word {
            "generation" => "if true",
            "endgeneration" => "endif",
            _ => continue,
        };
        out.push_str(&inner.replacen(word, replacement, 1));
        rest = &tag[close..];
    }
    out.push_str(rest);
    out
}

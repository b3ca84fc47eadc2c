//! Hermes' tool calls, which Qwen took over: a JSON object with `name` and `arguments`.
//!
//! A closing tag inside a JSON string belongs to the string.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Tag;
use super::call::{Body, Call, ParsedCall, Verdict};

/// A call of this form, as far as it has been read.
#[derive(Debug, Default)]
pub(super) struct JsonCall {
    body: String,
    in_string: bool,
    /// The last character was a backslash that escapes the next one.
    is_escaped: bool,
}

#[derive(Deserialize)]
struct Object<'a> {
    name: String,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

impl JsonCall {
    pub(super) fn start() -> Call {
        Call::new(Body::Json(Self::default()))
    }

    pub(super) fn text(&mut self, text: &str) -> Verdict {
        for c in text.chars() {
            match c {
                _ if self.is_escaped => self.is_escaped = false,
                '\\' if self.in_string => self.is_escaped = true,
                '"' => self.in_string = !self.in_string,
                _ => {}
            }
        }
        self.body.push_str(text);
        let start = self.body.trim_start();
        if start.is_empty() || start.starts_with('{') { Verdict::Continue } else { Verdict::NoCall }
    }

    pub(super) fn tag(&mut self, tag: Tag) -> Verdict {
        match tag {
            tag if self.in_string => self.text(tag.text()),
            Tag::CallClose => self.parse().map_or(Verdict::NoCall, Verdict::Done),
            _ => Verdict::NoCall,
        }
    }

    /// The call, if its object is complete.
    pub(super) fn finish(&self) -> Option<ParsedCall> {
        self.parse()
    }

    fn parse(&self) -> Option<ParsedCall> {
        let object: Object<'_> = serde_json::from_str(self.body.trim()).ok()?;
        let raw = object.arguments.map_or("null", RawValue::get);
        let arguments = match raw.chars().next() {
            Some('{') => raw.to_owned(),
            // Some models write the object as a string.
            Some('"') => {
                let inner: String = serde_json::from_str(raw).ok()?;
                let object: &RawValue = serde_json::from_str(inner.trim()).ok()?;
                Some(object.get().to_owned()).filter(|text| text.starts_with('{'))?
            }
            Some('n') => "{}".to_owned(),
            _ => return None,
        };
        Some(ParsedCall { name: object.name, arguments })
    }
}

//! GLM's tool calls: `NAME`, then any number of `<arg_key>K</arg_key><arg_value>V</arg_value>`.
//!
//! Whitespace may stand between the tags. A value runs to the first `</arg_value>`, whatever other tags it
//! holds.

use super::Tag;
use super::arguments::Tools;
use super::call::{Body, Call, ParsedCall, Verdict};

/// Longest name of a tool in bytes.
const MAX_NAME: usize = 256;

/// A call of this form, as far as it has been read.
#[derive(Debug, Default)]
pub(super) struct GlmCall {
    name: String,
    arguments: Vec<(String, String)>,
    part: Part,
}

#[derive(Debug, Default)]
enum Part {
    #[default]
    Name,
    Key(String),
    /// Between a key and its value.
    Gap(String),
    Value {
        key: String,
        value: String,
    },
    /// After a value.
    After,
}

impl GlmCall {
    pub(super) fn start() -> Call {
        Call::new(Body::Glm(Self::default()))
    }

    pub(super) fn text(&mut self, text: &str) -> Verdict {
        let ok = match &mut self.part {
            Part::Name => {
                self.name.push_str(text);
                may_name(self.name.trim())
            }
            Part::Key(key) => {
                key.push_str(text);
                true
            }
            Part::Value { value, .. } => {
                value.push_str(text);
                true
            }
            Part::Gap(_) | Part::After => text.trim().is_empty(),
        };
        if ok { Verdict::Continue } else { Verdict::NoCall }
    }

    pub(super) fn tag(&mut self, tag: Tag, tools: Option<&Tools>) -> Verdict {
        let part = std::mem::take(&mut self.part);
        self.part = match (part, tag) {
            (Part::Name, Tag::KeyOpen) if !self.name.trim().is_empty() => Part::Key(String::new()),
            (Part::After, Tag::KeyOpen) => Part::Key(String::new()),
            (Part::Key(key), Tag::KeyClose) if !key.trim().is_empty() => Part::Gap(key.trim().to_owned()),
            (Part::Gap(key), Tag::ValueOpen) => Part::Value { key, value: String::new() },
            (Part::Value { key, value }, Tag::ValueClose) => {
                self.arguments.retain(|(earlier, _)| *earlier != key);
                self.arguments.push((key, value));
                Part::After
            }
            (Part::Value { key, mut value }, tag) => {
                value.push_str(tag.text());
                Part::Value { key, value }
            }
            (Part::Name, Tag::CallClose) if !self.name.trim().is_empty() => return self.done(tools),
            (Part::After, Tag::CallClose) => return self.done(tools),
            _ => return Verdict::NoCall,
        };
        Verdict::Continue
    }

    fn done(&self, tools: Option<&Tools>) -> Verdict {
        let name = self.name.trim().to_owned();
        let arguments = Tools::arguments(tools, &name, &self.arguments);
        Verdict::Done(ParsedCall { name, arguments })
    }
}

/// Whether a text can be, or become, the name of a tool. A text that cannot stays so whatever follows.
fn may_name(text: &str) -> bool {
    text.len() <= MAX_NAME
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || "<>{}\"".contains(c))
}

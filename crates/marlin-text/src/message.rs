//! Chat messages as an OpenAI-compatible client sends them and as a chat template sees them.
//!
//! Nothing a client sends is lost: fields without a meaning here travel on in `extra`.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// One message of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, or what else a template knows.
    pub role: String,
    /// What was said; absent or null means nothing.
    #[serde(default, deserialize_with = "null_as_default")]
    pub content: Content,
    /// What an assistant thought before it spoke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// The calls an assistant made.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Name of the speaker, or of the tool that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The call that a tool's message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// Every other field.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Plain text.
    Text(String),
    /// A list of parts, `{"type": "text", "text": …}` or others.
    Parts(Vec<Value>),
}

/// A call of a tool by the assistant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Name of this call, to which the tool's answer refers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function`.
    #[serde(rename = "type", default = "function")]
    pub kind: String,
    /// What is called.
    pub function: Function,
}

/// Function and arguments of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Name of the function.
    pub name: String,
    /// An object, or a string holding one as JSON (the form of the OpenAI API).
    #[serde(default)]
    pub arguments: Value,
}

impl Message {
    /// A message of plain text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: Content::Text(content.into()), ..Self::default() }
    }

    /// The message as templates expect it: parts that are all text become one text, one part a line;
    /// arguments are objects; reasoning is found under each name that templates use for it.
    pub(crate) fn for_template(&self) -> Self {
        let mut message = self.clone();
        let other_name = |key: &str| self.extra.get(key).and_then(Value::as_str).map(str::to_owned);
        let reasoning = self.reasoning_content.clone();
        message.reasoning_content =
            reasoning.or_else(|| other_name("thinking")).or_else(|| other_name("reasoning"));
        if let Some(reasoning) = &message.reasoning_content {
            message.extra.entry("thinking").or_insert_with(|| Value::String(reasoning.clone()));
        }
        if let Some(text) = self.content.as_text() {
            message.content = Content::Text(text);
        }
        for call in &mut message.tool_calls {
            let object = call.function.arguments.as_str().and_then(|json| serde_json::from_str(json).ok());
            if let Some(object @ Value::Object(_)) = object {
                call.function.arguments = object;
            }
        }
        message
    }
}

impl Content {
    /// The text, if there is nothing but text.
    pub fn as_text(&self) -> Option<String> {
        let parts = match self {
            Self::Text(text) => return Some(text.clone()),
            Self::Parts(parts) => parts,
        };
        let texts: Option<Vec<&str>> = parts
            .iter()
            .map(|part| match part["type"].as_str() {
                Some("text") => part["text"].as_str(),
                _ => None,
            })
            .collect();
        texts.map(|texts| texts.join("\n"))
    }
}

impl Default for Content {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

fn function() -> String {
    "function".to_owned()
}

fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

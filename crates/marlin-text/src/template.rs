//! Chat templates: a conversation to the text a model was trained on.
//!
//! Templates are programs in the Jinja language from the model's publisher: they see only the conversation,
//! and fuel bounds their steps and the text they make. Fuel does not see a list that holds itself many times
//! over: writing one out can take exponential time and memory. Rendering agrees with Hugging Face's
//! `apply_chat_template` (transformers, utils/chat_template_utils.py).

mod python;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, ErrorKind, State, Value as Jinja};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::message::Message;
use crate::tokenizer::{Tokenizer, token_content};

/// Fuel for any conversation: about as many template steps, or 64 times as many bytes.
const FUEL: u64 = 4_000_000;
/// Fuel added for each byte of the conversation.
const FUEL_PER_BYTE: u64 = 4;

/// The template that is used unless tools or a name ask for another.
const DEFAULT: &str = "default";
/// The template that is used, where a model has it, when tools are given.
const TOOL_USE: &str = "tool_use";
/// What `raise_exception` puts before its message, to tell a refusal from a broken template.
const REFUSAL: &str = "\u{0}refused: ";

/// The chat templates of one model, compiled.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    special_tokens: Map<String, Value>,
    default_source: String,
}

/// What a prompt is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conversation<'a> {
    /// The messages so far.
    pub messages: &'a [Message],
    /// Tools that may be called, as JSON schemas in OpenAI's form; none and empty are different to a
    /// template.
    pub tools: Option<&'a [Value]>,
    /// Whether the prompt ends where the assistant begins to speak.
    pub add_generation_prompt: bool,
    /// Variables of the particular template, for example `enable_thinking`. They override all others.
    pub extra: Option<&'a Map<String, Value>>,
}

/// The part of tokenizer_config.json that templates come from.
#[derive(Deserialize)]
#[serde(untagged)]
enum Sources {
    One(String),
    Named(Vec<NamedSource>),
}

#[derive(Deserialize)]
struct NamedSource {
    name: String,
    template: String,
}

impl ChatTemplate {
    /// Compiles one template, the text of `chat_template.jinja` or of a GGUF's `tokenizer.chat_template`.
    ///
    /// # Errors
    /// [`Error::Template`] with the line.
    pub fn new(source: &str) -> Result<Self> {
        Self::from_named([(DEFAULT, source)])
    }

    /// Compiles several templates, of which `default` must be one; `tool_use` is taken when tools are given.
    ///
    /// # Errors
    /// [`Error::Template`] with the line, [`Error::NoDefaultTemplate`].
    pub fn from_named<'a>(sources: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        let mut environment = environment();
        let (mut names, mut default_source) = (Vec::new(), None);
        for (name, source) in sources {
            let template = python::without_generation_tags(source);
            environment
                .add_template_owned(name.to_owned(), template)
                .map_err(|error| Error::Template { name: name.to_owned(), message: chain(&error) })?;
            if name == DEFAULT {
                default_source = Some(source.to_owned());
            }
            names.push(name);
        }
        let found = names.join(", ");
        let default_source = default_source.ok_or(Error::NoDefaultTemplate { found })?;
        Ok(Self { environment, special_tokens: Map::new(), default_source })
    }

    /// Compiles the `chat_template` of a tokenizer_config.json, a text or a list of named ones, and takes
    /// its special tokens; none if the file has no template.
    ///
    /// # Errors
    /// Unreadable JSON, [`Error::Template`], [`Error::NoDefaultTemplate`].
    pub fn from_config(config: &[u8]) -> Result<Option<Self>> {
        let config: Value = parse(config)?;
        let template = match &config["chat_template"] {
            Value::Null => return Ok(None),
            sources => {
                let file = "tokenizer_config.json";
                match Sources::deserialize(sources).map_err(|source| Error::Json { file, source })? {
                    Sources::One(source) => Self::new(&source)?,
                    Sources::Named(sources) => {
                        let pairs = sources.iter().map(|s| (s.name.as_str(), s.template.as_str()));
                        Self::from_named(pairs)?
                    }
                }
            }
        };
        Ok(Some(template.with_config_tokens(&config)))
    }

    /// Takes the special tokens of a tokenizer_config.json, for a template from a file of its own.
    ///
    /// # Errors
    /// Unreadable JSON.
    pub fn with_config(self, config: &[u8]) -> Result<Self> {
        Ok(self.with_config_tokens(&parse(config)?))
    }

    /// Makes a special token known to the template, for example `bos_token` as `<s>`.
    pub fn with_token(mut self, variable: &str, text: &str) -> Self {
        self.special_tokens.insert(variable.to_owned(), Value::String(text.to_owned()));
        self
    }

    /// Makes BOS, EOS and UNK of a tokenizer known to the template, for a template from a GGUF.
    pub fn with_tokenizer(mut self, tokenizer: &Tokenizer) -> Self {
        let roles =
            [("bos_token", tokenizer.bos()), ("eos_token", tokenizer.eos()), ("unk_token", tokenizer.unk())];
        for (variable, id) in roles {
            if let Some(text) = id.and_then(|id| tokenizer.token_text(id)) {
                self = self.with_token(variable, &text);
            }
        }
        self
    }

    fn with_config_tokens(mut self, config: &Value) -> Self {
        for (key, value) in
            config.as_object().into_iter().flatten().filter(|(key, _)| key.ends_with("_token"))
        {
            if let Some(text) = token_content(value) {
                self = self.with_token(key, text);
            }
        }
        self
    }

    /// The source of the default template.
    pub fn source(&self) -> &str {
        &self.default_source
    }

    /// Writes the prompt. It holds the special tokens as text: encode it with special tokens parsed and none
    /// added.
    ///
    /// # Errors
    /// [`Error::Refused`] if the template rejects the messages in its own words, [`Error::Render`] if it
    /// fails or does not come to an end.
    pub fn render(&self, conversation: &Conversation<'_>) -> Result<String> {
        let has_tools = conversation.tools.is_some();
        let name = match self.environment.get_template(TOOL_USE) {
            Ok(_) if has_tools => TOOL_USE,
            _ => DEFAULT,
        };
        let context = self.context(conversation);
        let bytes = context.to_string().len() as u64;
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(FUEL.saturating_add(bytes.saturating_mul(FUEL_PER_BYTE))));
        let rendered =
            environment.get_template(name).and_then(|template| template.render(Jinja::from(Serde(&context))));
        rendered.map_err(|error| {
            let name = name.to_owned();
            let refusal = error.detail().and_then(|detail| detail.strip_prefix(REFUSAL));
            match refusal {
                Some(message) => Error::Refused { name, message: message.to_owned() },
                None => Error::Render { name, messages: conversation.messages.len(), message: chain(&error) },
            }
        })
    }

    fn context(&self, conversation: &Conversation<'_>) -> Value {
        let messages: Vec<Message> = conversation.messages.iter().map(Message::for_template).collect();
        let mut context = self.special_tokens.clone();
        context.insert("messages".to_owned(), serde_json::json!(messages));
        context.insert("tools".to_owned(), serde_json::json!(conversation.tools));
        context.insert("documents".to_owned(), Value::Null);
        context.insert("add_generation_prompt".to_owned(), Value::Bool(conversation.add_generation_prompt));
        context.extend(
            conversation.extra.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())),
        );
        Value::Object(context)
    }
}

fn parse(config: &[u8]) -> Result<Value> {
    serde_json::from_slice(config).map_err(|source| Error::Json { file: "tokenizer_config.json", source })
}

/// The Jinja dialect of Hugging Face: whitespace control, Python's methods, and three names of its own.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .expect("delimiters are Jinja's"),
    );
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_test("iterable", python::is_iterable);
    environment.add_filter("tojson", python::tojson);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment
}

fn raise_exception(message: &str) -> std::result::Result<Jinja, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, format!("{REFUSAL}{message}")))
}

/// The present local time in the manner of Python's `datetime.now().strftime`.
fn strftime_now(_state: &State, format: &str) -> std::result::Result<String, minijinja::Error> {
    jiff::fmt::strtime::format(format, &jiff::Zoned::now())
        .map_err(|error| minijinja::Error::new(ErrorKind::InvalidOperation, error.to_string()))
}

/// An error with its causes on one line.
fn chain(error: &minijinja::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

//! Model output to events: what was thought, what was said, which tools were called.
//!
//! Nothing is lost: apart from the tags and the whitespace next to them, every character of the output is in
//! exactly one event, and a tool call that cannot be read comes back as the text it was. How the output is
//! cut into pieces plays no role.

mod arguments;
mod call;
mod glm;
mod json;

use serde_json::Value;

use self::arguments::Tools;
pub use self::call::ParsedCall;
use self::call::{Call, Step};
use crate::error::{Error, Result};
use crate::scan::Scanner;

/// Something a model did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A piece of its reasoning.
    Reasoning(String),
    /// A piece of its answer.
    Content(String),
    /// A complete call of a tool.
    ToolCall(ParsedCall),
}

/// A way of writing reasoning and tool calls.
#[derive(Debug)]
pub struct Syntax {
    /// Its name on a command line.
    pub name: &'static str,
    /// What it reads, in one sentence.
    pub description: &'static str,
    /// Whether a model with this chat template writes it.
    is_taught_by: fn(&str) -> bool,
    reasons: bool,
    call: Option<fn() -> Call>,
}

/// Every syntax, the more particular first; the last fits everything.
pub static SYNTAXES: &[Syntax] = &[
    Syntax {
        name: "glm",
        description: "<think> reasoning; <tool_call> with a name, <arg_key> and <arg_value>",
        is_taught_by: |template| template.contains("<arg_key>"),
        reasons: true,
        call: Some(glm::GlmCall::start),
    },
    Syntax {
        name: "hermes",
        description: "<think> reasoning; <tool_call> with a JSON object of name and arguments",
        is_taught_by: |template| template.contains("<tool_call>") && !template.contains("<function="),
        reasons: true,
        call: Some(json::JsonCall::start),
    },
    Syntax {
        name: "think",
        description: "<think> reasoning; no tool calls",
        is_taught_by: |template| template.contains("</think>"),
        reasons: true,
        call: None,
    },
    Syntax {
        name: "plain",
        description: "everything is the answer",
        is_taught_by: |_| true,
        reasons: false,
        call: None,
    },
];

impl Syntax {
    /// The syntax of this name.
    ///
    /// # Errors
    /// [`Error::UnknownParser`] with the names there are.
    pub fn find(name: &str) -> Result<&'static Self> {
        SYNTAXES.iter().find(|syntax| syntax.name == name).ok_or_else(|| Error::UnknownParser {
            found: name.to_owned(),
            known: SYNTAXES.iter().map(|syntax| syntax.name).collect::<Vec<_>>().join(", "),
        })
    }

    /// The syntax that a chat template teaches; `plain` without a template.
    pub fn of_template(source: Option<&str>) -> &'static Self {
        let last = &SYNTAXES[SYNTAXES.len() - 1];
        source.and_then(|source| SYNTAXES.iter().find(|s| (s.is_taught_by)(source))).unwrap_or(last)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    ThinkOpen,
    ThinkClose,
    CallOpen,
    CallClose,
    KeyOpen,
    KeyClose,
    ValueOpen,
    ValueClose,
}

impl Tag {
    const ALL: [Self; 8] = [
        Self::ThinkOpen,
        Self::ThinkClose,
        Self::CallOpen,
        Self::CallClose,
        Self::KeyOpen,
        Self::KeyClose,
        Self::ValueOpen,
        Self::ValueClose,
    ];

    fn text(self) -> &'static str {
        match self {
            Self::ThinkOpen => "<think>",
            Self::ThinkClose => "</think>",
            Self::CallOpen => "<tool_call>",
            Self::CallClose => "</tool_call>",
            Self::KeyOpen => "<arg_key>",
            Self::KeyClose => "</arg_key>",
            Self::ValueOpen => "<arg_value>",
            Self::ValueClose => "</arg_value>",
        }
    }
}

/// Where in the output we are.
#[derive(Debug)]
enum Mode {
    Reasoning,
    Content,
    /// In a tool call; only answers hold calls.
    Call(Call),
}

/// Reads one output, piece by piece.
#[derive(Debug)]
pub struct OutputParser {
    syntax: &'static Syntax,
    tools: Option<Tools>,
    scanner: Scanner,
    mode: Mode,
    /// Nothing but whitespace has been said, so the output may still begin with reasoning.
    may_reason: bool,
    /// Nothing but whitespace came since the last tag: whitespace is dropped.
    after_tag: bool,
    /// Whitespace that is dropped if a tag follows.
    whitespace: String,
}

impl OutputParser {
    /// Reads what follows `prompt`, whose end tells whether reasoning is under way. Tool calls are
    /// recognised only if `tools` are given, in OpenAI's form; their schemas say which arguments are
    /// strings.
    pub fn new(syntax: &'static Syntax, prompt: &str, tools: Option<&[Value]>) -> Self {
        let prompt = prompt.trim_end();
        let ends_with = |tag: Tag| syntax.reasons && prompt.ends_with(tag.text());
        let mode = if ends_with(Tag::ThinkOpen) { Mode::Reasoning } else { Mode::Content };
        let after_tag = ends_with(Tag::ThinkOpen) || ends_with(Tag::ThinkClose);
        let may_reason = syntax.reasons;
        let tools = tools.filter(|_| syntax.call.is_some()).map(Tools::new);
        let scanner = match (syntax.reasons, &tools) {
            (true, Some(_)) => Scanner::new(Tag::ALL.map(Tag::text)),
            (true, None) => Scanner::new([Tag::ThinkOpen, Tag::ThinkClose].map(Tag::text)),
            (false, _) => Scanner::new::<&str>([]),
        };
        Self { syntax, tools, scanner, mode, may_reason, after_tag, whitespace: String::new() }
    }

    /// Takes the next piece of output and returns what it makes certain.
    pub fn push(&mut self, piece: &str) -> Vec<Event> {
        let mut events = Vec::new();
        let mut rest = piece;
        loop {
            let scan = self.scanner.push(rest);
            self.text(&scan.text, &mut events);
            let Some((index, used)) = scan.hit else { return events };
            rest = &rest[used..];
            self.tag(Tag::ALL[index], &mut events);
        }
    }

    /// Ends the output. An unfinished tool call comes back as text.
    pub fn finish(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let held = self.scanner.finish();
        self.text(&held, &mut events);
        if let Mode::Call(call) = std::mem::replace(&mut self.mode, Mode::Content) {
            match call.finish() {
                Ok(call) => events.push(Event::ToolCall(call)),
                Err(raw) => self.give_back(&raw, &mut events),
            }
        }
        let whitespace = std::mem::take(&mut self.whitespace);
        self.emit(whitespace, &mut events);
        events
    }

    fn text(&mut self, text: &str, events: &mut Vec<Event>) {
        if text.is_empty() {
            return;
        }
        if let Mode::Call(call) = &mut self.mode {
            let step = call.text(text);
            self.after_call_step(step, events);
            return;
        }
        if !self.syntax.reasons {
            self.emit(text.to_owned(), events);
            return;
        }
        let text = if self.after_tag { text.trim_start() } else { text };
        let end = text.trim_end().len();
        if end > 0 {
            let mut whole = std::mem::take(&mut self.whitespace);
            whole.push_str(&text[..end]);
            self.after_tag = false;
            self.may_reason &= matches!(self.mode, Mode::Reasoning);
            self.emit(whole, events);
        }
        self.whitespace.push_str(&text[end..]);
    }

    fn tag(&mut self, tag: Tag, events: &mut Vec<Event>) {
        match (&mut self.mode, tag) {
            (Mode::Call(call), tag) => {
                let step = call.tag(tag, self.tools.as_ref());
                self.after_call_step(step, events);
            }
            (Mode::Content, Tag::ThinkOpen) if self.may_reason => self.enter(Mode::Reasoning),
            (Mode::Content, Tag::ThinkClose) if self.may_reason => self.enter(Mode::Content),
            (Mode::Reasoning, Tag::ThinkClose) => {
                self.may_reason = false;
                self.enter(Mode::Content);
            }
            (Mode::Content, Tag::CallOpen) => self.enter_call(),
            (Mode::Reasoning | Mode::Content, tag) => self.text(tag.text(), events),
        }
    }

    fn enter(&mut self, mode: Mode) {
        self.mode = mode;
        self.after_tag = true;
        self.whitespace.clear();
    }

    /// Begins a call. The whitespace before it is kept with it until the call is known to be one.
    fn enter_call(&mut self) {
        self.may_reason = false;
        if let Some(start) = self.syntax.call {
            self.mode = Mode::Call(start());
        }
    }

    fn after_call_step(&mut self, step: Step, events: &mut Vec<Event>) {
        match step {
            Step::Continue => {}
            Step::Done(call) => {
                events.push(Event::ToolCall(call));
                self.enter(Mode::Content);
            }
            Step::NoCall(raw) => self.give_back(&raw, events),
            Step::Restart(raw) => {
                self.give_back(&raw, events);
                self.enter_call();
            }
        }
    }

    /// Says the text of what looked like a tool call and was none.
    fn give_back(&mut self, raw: &str, events: &mut Vec<Event>) {
        self.mode = Mode::Content;
        self.text(raw, events);
    }

    fn emit(&self, text: String, events: &mut Vec<Event>) {
        if text.is_empty() {
            return;
        }
        events.push(match self.mode {
            Mode::Reasoning => Event::Reasoning(text),
            Mode::Content | Mode::Call(_) => Event::Content(text),
        });
    }
}

//! A tool call being read: what every way of writing one has in common.
//!
//! A call keeps all of its text until it is complete, so that it can be given back.

use super::Tag;
use super::arguments::Tools;
use super::glm::GlmCall;
use super::json::JsonCall;

/// A tool call as the model wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedCall {
    /// The tool.
    pub name: String,
    /// Its arguments, a JSON object as text; numbers are spelled as the model spelled them.
    pub arguments: String,
}

/// What a piece of a call leads to.
pub(super) enum Step {
    /// The call goes on.
    Continue,
    /// The call is complete.
    Done(ParsedCall),
    /// It is no call; here is its text so far.
    NoCall(String),
    /// It is no call, and another begins after this text.
    Restart(String),
}

/// What one syntax makes of a piece.
pub(super) enum Verdict {
    Continue,
    Done(ParsedCall),
    NoCall,
}

/// A call under way.
#[derive(Debug)]
pub(super) struct Call {
    /// Everything from the opening tag on.
    raw: String,
    body: Body,
}

#[derive(Debug)]
pub(super) enum Body {
    Glm(GlmCall),
    Json(JsonCall),
}

impl Call {
    pub(super) fn new(body: Body) -> Self {
        Self { raw: Tag::CallOpen.text().to_owned(), body }
    }

    pub(super) fn text(&mut self, text: &str) -> Step {
        self.raw.push_str(text);
        let verdict = match &mut self.body {
            Body::Glm(call) => call.text(text),
            Body::Json(call) => call.text(text),
        };
        self.step(verdict)
    }

    pub(super) fn tag(&mut self, tag: Tag, tools: Option<&Tools>) -> Step {
        let verdict = match &mut self.body {
            Body::Glm(call) => call.tag(tag, tools),
            Body::Json(call) => call.tag(tag),
        };
        if matches!((&verdict, tag), (Verdict::NoCall, Tag::CallOpen)) {
            return Step::Restart(std::mem::take(&mut self.raw));
        }
        self.raw.push_str(tag.text());
        self.step(verdict)
    }

    /// The call if it is complete but for its closing tag, else its text.
    pub(super) fn finish(self) -> Result<ParsedCall, String> {
        match self.body {
            Body::Glm(_) => Err(self.raw),
            Body::Json(call) => call.finish().ok_or(self.raw),
        }
    }

    fn step(&mut self, verdict: Verdict) -> Step {
        match verdict {
            Verdict::Continue => Step::Continue,
            Verdict::Done(call) => Step::Done(call),
            Verdict::NoCall => Step::NoCall(std::mem::take(&mut self.raw)),
        }
    }
}

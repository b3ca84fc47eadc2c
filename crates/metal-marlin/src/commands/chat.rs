//! `chat`: a conversation in the terminal, streamed. Ctrl-C ends the answer, not the program.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::Context;
use clap::Args;
use marlin_text::{ChatTemplate, Conversation, Event, Message, OutputParser, Syntax};
use rustyline::{DefaultEditor, error::ReadlineError};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    cli::{PlayOptions, SamplingOptions},
    generate::{Ask, Generator, Stats},
    interrupt, open,
    output::Output,
};

const HELP: &str = "\
/new           forget the conversation
/system TEXT   set the system message and forget the conversation
/retry         answer the last message again
/think on|off  whether the model reasons before it answers, if its template knows that
/stats         numbers of the last answer
/quit          leave (also Ctrl-D)";

/// Arguments of `chat`.
#[derive(Args, Debug)]
pub struct Chat {
    /// A directory with safetensors, a .gguf file, a hub id, or marlin-mini.
    pub model: String,
    /// A system message.
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// The longest answer, in tokens; by default as much as the context holds.
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<usize>,
    /// Room for the whole conversation, in tokens.
    #[arg(long, value_name = "TOKENS")]
    pub ctx: Option<usize>,
    /// How tokens are chosen.
    #[command(flatten)]
    pub sampling: SamplingOptions,
    /// How the model is played.
    #[command(flatten)]
    pub play: PlayOptions,
}

/// One answer.
#[derive(Clone, Debug, Serialize)]
struct Answer {
    #[serde(skip_serializing_if = "String::is_empty")]
    reasoning: String,
    content: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Value>,
    #[serde(flatten)]
    stats: Stats,
}

/// A conversation and what it runs on.
struct Talk {
    generator: Generator,
    template: ChatTemplate,
    messages: Vec<Message>,
    extra: Map<String, Value>,
    chat: Chat,
    output: Output,
    stop: Arc<AtomicBool>,
    last: Option<Stats>,
}

impl Chat {
    /// Talks until the input ends.
    ///
    /// # Errors
    /// Whatever is wrong with the model; an answer that fails is told and the conversation goes on.
    pub fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let mut opened = open::open(&self.model, output)?;
        let template = opened.template.take();
        let template = template.context("the model has no chat template, so it cannot chat: see `run`")?;
        let generator = Generator::new(opened, &self.play, self.ctx, output)?;
        output.note(format!("{}; /help lists the commands", generator.player()));
        let mut talk = Talk {
            generator,
            template,
            messages: Vec::new(),
            extra: Map::new(),
            chat: self,
            output,
            stop: interrupt::flag()?,
            last: None,
        };
        talk.restart();
        let mut editor = DefaultEditor::new()?;
        let prompt = if std::io::stdin().is_terminal() { "> " } else { "" };
        loop {
            match editor.readline(prompt) {
                Ok(line) if line.trim().is_empty() => {}
                Ok(line) => {
                    editor.add_history_entry(&line)?;
                    if !talk.take(line.trim())? {
                        break;
                    }
                }
                // At the prompt there is no answer to stop.
                Err(ReadlineError::Interrupted) => output.note("/quit or Ctrl-D leaves"),
                Err(ReadlineError::Eof) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Talk {
    /// Takes a line of input; false to leave.
    fn take(&mut self, line: &str) -> anyhow::Result<bool> {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        match command {
            "/quit" | "/exit" => return Ok(false),
            "/help" => println!("{HELP}"),
            "/new" => self.restart(),
            "/system" => {
                self.chat.system = Some(rest.to_owned());
                self.restart();
            }
            "/think" => {
                self.extra.insert("enable_thinking".into(), (rest != "off").into());
            }
            "/stats" => match &self.last {
                Some(stats) => println!("{}", stats.line()),
                None => println!("no answer yet"),
            },
            "/retry" => match self.messages.iter().rposition(|message| message.role == "user") {
                Some(at) => {
                    self.messages.truncate(at + 1);
                    self.answer_or_tell();
                }
                None => println!("nothing was said yet"),
            },
            _ if command.starts_with('/') => println!("{command}: unknown command\n{HELP}"),
            _ => {
                self.messages.push(Message::new("user", line));
                self.answer_or_tell();
            }
        }
        Ok(true)
    }

    fn restart(&mut self) {
        self.messages.clear();
        if let Some(system) = &self.chat.system {
            self.messages.push(Message::new("system", system.as_str()));
        }
    }

    /// An answer that fails must not end the conversation: the message is taken back.
    fn answer_or_tell(&mut self) {
        self.stop.store(false, Ordering::Relaxed);
        if let Err(error) = self.answer() {
            self.messages.pop();
            eprintln!("error: {error:#}");
            if let Some(hint) = crate::hints::hint(&error) {
                eprintln!("hint: {hint}");
            }
        }
        self.stop.store(false, Ordering::Relaxed);
    }

    fn answer(&mut self) -> anyhow::Result<()> {
        let conversation = Conversation {
            messages: &self.messages,
            add_generation_prompt: true,
            extra: Some(&self.extra),
            ..Conversation::default()
        };
        let prompt = self.template.render(&conversation)?;
        let syntax = Syntax::of_template(Some(self.template.source()));
        let mut parser = OutputParser::new(syntax, &prompt, None);
        let player = self.generator.player();
        let ask = Ask {
            prompt: &prompt,
            add_special: false,
            skip_special: false,
            max_tokens: self.chat.max_tokens,
            stop: &[],
            sampling: &self.chat.sampling,
            logprobs: None,
        };
        let mut screen = Screen::new(self.output);
        let mut pieces = self.generator.start(ask)?;
        while let Some(piece) = pieces.next().filter(|_| !self.stop.load(Ordering::Relaxed)) {
            screen.show(parser.push(&piece?.text))?;
        }
        let stats = Stats::new(pieces.timings(), pieces.finish(), player);
        drop(pieces);
        screen.show(parser.finish())?;
        let answer = screen.answer(stats);
        if self.output.json() {
            println!("{}", serde_json::to_string(&answer)?);
        } else {
            println!();
        }
        let mut message = Message::new("assistant", answer.content);
        if !answer.reasoning.is_empty() {
            message.reasoning_content = Some(answer.reasoning);
        }
        self.messages.push(message);
        self.last = Some(answer.stats);
        Ok(())
    }
}

/// Shows an answer as it comes: reasoning dimmed, where the terminal can.
struct Screen {
    output: Output,
    dim: bool,
    reasoning: String,
    content: String,
    calls: Vec<Value>,
}

impl Screen {
    fn new(output: Output) -> Screen {
        let dim = std::io::stdout().is_terminal();
        Screen { output, dim, reasoning: String::new(), content: String::new(), calls: Vec::new() }
    }

    fn show(&mut self, events: Vec<Event>) -> anyhow::Result<()> {
        for event in events {
            match event {
                Event::Reasoning(text) => {
                    let shown = if self.dim { format!("\x1b[2m{text}\x1b[0m") } else { text.clone() };
                    self.print(&shown)?;
                    self.reasoning.push_str(&text);
                }
                Event::Content(text) => {
                    if self.content.is_empty() && !self.reasoning.is_empty() {
                        self.print("\n")?;
                    }
                    self.print(&text)?;
                    self.content.push_str(&text);
                }
                Event::ToolCall(call) => {
                    self.print(&format!("[calls {} with {}]", call.name, call.arguments))?;
                    self.calls.push(serde_json::json!({ "name": call.name, "arguments": call.arguments }));
                }
            }
        }
        Ok(())
    }

    fn print(&self, text: &str) -> anyhow::Result<()> {
        if !self.output.json() {
            print!("{text}");
            std::io::stdout().flush()?;
        }
        Ok(())
    }

    fn answer(self, stats: Stats) -> Answer {
        Answer { reasoning: self.reasoning, content: self.content, tool_calls: self.calls, stats }
    }
}

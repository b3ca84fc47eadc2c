//! The command line as data: every command and option, from which help, completions and the manual
//! page are made.

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands;

/// Quantizes large language models to 2-8 bits and runs them.
#[derive(Debug, Parser)]
#[command(name = "metal-marlin", version, about, propagate_version = true)]
pub struct Cli {
    /// How results are shown.
    #[command(flatten)]
    pub output: OutputOptions,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of all commands.
#[derive(Args, Clone, Copy, Debug)]
pub struct OutputOptions {
    /// Print one JSON object instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress bars, no notes.
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Quantize the built-in miniature, measure what it lost, and let it write.
    Demo(commands::demo::Demo),
    /// Quantize a model and write it to a directory.
    Quantize(commands::quantize::Quantize),
    /// Write a model so that other programs load it: transformers, llama.cpp.
    Convert(commands::convert::Convert),
    /// Complete a prompt.
    Run(commands::run::Run),
    /// Talk to a model.
    Chat(commands::chat::Chat),
    /// Show what a model is made of and the memory it needs.
    Inspect(commands::inspect::Inspect),
    /// Measure perplexity, and the distance to a reference model.
    Eval(commands::eval::Eval),
    /// Put several quantizations of one model side by side.
    Compare(commands::compare::Compare),
    /// Show what this machine has and test every kernel on it.
    Doctor(commands::doctor::Doctor),
    /// Measure kernels and models on a GPU.
    Bench(commands::bench::Bench),
    /// Measure which variants of the kernels are fastest on a GPU, and keep the result.
    ///
    /// Takes up to a minute. What is measured goes to the user's cache directory (MARLIN_CACHE names
    /// another) and holds for this version, device and driver; all commands take it up from then on.
    /// Without it they play with what is best on a large GPU: no command but this one measures by itself.
    Tune(commands::tune::Tune),
    /// Show which kernel runs where and who has seen it, or write the GPU kernels as files.
    Kernels(commands::kernels::Kernels),
    /// Print a shell's completions.
    Completions(commands::completions::Completions),
    /// Print the manual page.
    Man(commands::man::Man),
}

/// How a model is played.
#[derive(Args, Clone, Debug)]
pub struct PlayOptions {
    /// auto, cpu, gpu, gpu:N as `doctor` numbers them, vulkan, metal, or part of a GPU's name.
    #[arg(long, env = "MARLIN_DEVICE", default_value = "auto", value_name = "DEVICE")]
    pub device: String,
    /// Gigabytes of the GPU's memory to use at most.
    #[arg(long, value_name = "GB")]
    pub device_memory: Option<f64>,
    /// Threads to use; all cores by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Precision of activations in products with quantized weights.
    #[arg(long, value_enum, value_name = "TYPE")]
    pub activations: Option<Activations>,
    /// Precision of the key/value cache.
    #[arg(long, value_enum, value_name = "TYPE")]
    pub kv: Option<Kv>,
}

/// Precision of activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Activations {
    /// Exact: used to evaluate.
    F32,
    /// 8-bit blocks: used to generate on a CPU.
    Int8,
    /// Operands of matrix units: used to generate on a GPU that has them.
    F16,
}

/// Precision of the key/value cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kv {
    /// 4 bytes a value.
    F32,
    /// 2 bytes a value.
    F16,
}

/// How tokens are chosen.
#[derive(Args, Clone, Debug)]
pub struct SamplingOptions {
    /// 0 always takes the most likely token.
    #[arg(long, default_value_t = 0.0, value_name = "T")]
    pub temperature: f32,
    /// Keep the K most likely tokens; 0 keeps all.
    #[arg(long, default_value_t = 0, value_name = "K")]
    pub top_k: usize,
    /// Keep the most likely tokens that together have this probability.
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    pub top_p: f32,
    /// Keep tokens with at least this share of the largest probability.
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    pub min_p: f32,
    /// Divide the logits of tokens seen before; 1 for none.
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    pub repetition_penalty: f32,
    /// Lower the logits of tokens generated before, once.
    #[arg(long, default_value_t = 0.0, value_name = "X", allow_negative_numbers = true)]
    pub presence_penalty: f32,
    /// Lower the logits of tokens generated before, for each time.
    #[arg(long, default_value_t = 0.0, value_name = "X", allow_negative_numbers = true)]
    pub frequency_penalty: f32,
    /// The same seed gives the same text.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

impl SamplingOptions {
    /// The most likely token, always.
    pub fn greedy() -> SamplingOptions {
        SamplingOptions {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: None,
        }
    }

    /// As the engine wants it.
    pub fn sampling(&self) -> marlin_engine::Sampling {
        marlin_engine::Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            logit_bias: Vec::new(),
            seed: self.seed,
        }
    }
}

//! `cargo xtask quality`: what each format costs a model, rounded plainly, calibrated, and mixed by
//! `--bpw` to the same size. Measured with the release binary, recorded in bench/record/quality, and
//! shown in docs/quantization.md.

mod page;

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use serde_json::Value;

use crate::call;

/// Formats that every tensor gets in turn, from small to large.
const FORMATS: [&str; 10] = ["int2", "nf2", "nf3", "int3", "int4", "nf4", "mxfp4", "fp4", "int4-g32", "int8"];
/// Sizes that are asked for beside those of the formats, in bits per weight.
const SIZES: [&str; 1] = ["3.41"];
/// What `compare` ends with when a model is broken by its own measure: two bits can do that.
const BROKEN: i32 = 3;

/// Where records lie, a file a model.
const RECORDS: &str = "bench/record/quality";
/// Quantized models and texts of a run.
const WORK: &str = "target/quality";
/// The first line of a record.
const HEADER: &str = "date,commit,device,command,what,bits,bytes,perplexity,kl,kl_error,kl_99,top1";

/// What is measured.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The model: anything that `metal-marlin` opens.
    #[arg(long, default_value = "assets/marlin-mini")]
    model: String,
    /// The record's name, and the table's.
    #[arg(long, default_value = "marlin-mini")]
    name: String,
    /// The text that is scored, from its start.
    #[arg(long, default_value = "assets/marlin-mini/heldout.txt")]
    text: String,
    /// The text to calibrate with; without, the second half of the other one, which is not scored then.
    #[arg(long)]
    calibrate: Option<String>,
    /// Tokens of it.
    #[arg(long, default_value_t = 30_208)]
    calibrate_tokens: usize,
    /// Windows of 512 tokens that are scored.
    #[arg(long, default_value_t = 16)]
    windows: usize,
    /// Formats, in place of all.
    #[arg(long, value_delimiter = ',', default_values = FORMATS)]
    formats: Vec<String>,
    /// Formats to which size no mix is made: beyond 4 bits there is little to win.
    #[arg(long, value_delimiter = ',', default_value = "int8")]
    unmixed: Vec<String>,
    /// Formats measured at a time; each has as many threads as that leaves it.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Only writes the tables of docs/quantization.md anew, from the records.
    #[arg(long)]
    tables: bool,
}

/// Measures, records, and writes the tables.
pub fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    if !arguments.tables {
        call(root, "cargo build --release --package metal-marlin", &[])?;
        let rows = Run::new(root, arguments)?.rows()?;
        let record = root.join(RECORDS).join(format!("{}.csv", arguments.name));
        fs::create_dir_all(root.join(RECORDS))?;
        fs::write(&record, format!("{HEADER}\n{}\n", rows.join("\n")))?;
        println!("wrote {}", record.display());
    }
    page::write(root)
}

/// A run: where things are, and what every row says.
struct Run<'a> {
    root: &'a Path,
    arguments: &'a Arguments,
    scored: String,
    calibration: String,
    stamp: String,
    threads: usize,
}

impl Run<'_> {
    fn new<'a>(root: &'a Path, arguments: &'a Arguments) -> Result<Run<'a>> {
        fs::create_dir_all(root.join(WORK))?;
        let (scored, calibration) = match &arguments.calibrate {
            Some(calibration) => (arguments.text.clone(), calibration.clone()),
            None => halves(root, &arguments.text)?,
        };
        let commit = output(root, Command::new("git").args(["rev-parse", "--short", "HEAD"]))?;
        let date = output(root, Command::new("date").arg("+%Y-%m-%d"))?;
        let threads = std::thread::available_parallelism()?.get().div_ceil(arguments.jobs.max(1));
        Ok(Run { root, arguments, scored, calibration, stamp: format!("{date},{commit}"), threads })
    }

    /// Quantizes and compares, a line each.
    fn rows(&self) -> Result<Vec<String>> {
        let Arguments { formats, jobs, .. } = self.arguments;
        let sizes = SIZES.iter().map(|size| (*size, false));
        let all: Vec<(&str, bool)> =
            formats.iter().map(|format| (format.as_str(), true)).chain(sizes).collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(*jobs).build()?;
        let rows = pool.install(|| {
            let rows = all.par_iter().map(|(name, is_format)| match is_format {
                true => self.format(name),
                false => Ok(vec![self.row(name, "mixed", &format!("--bpw {name} {}", self.calibrated()))?.0]),
            });
            rows.collect::<Result<Vec<_>>>()
        });
        Ok(rows?.concat())
    }

    /// The rows of a format that all tensors get.
    fn format(&self, format: &str) -> Result<Vec<String>> {
        let uniform = format!("--format {format} --embed {format} --head {format}");
        let calibrated = self.calibrated();
        let (plain, _) = self.row(format, "plain", &uniform)?;
        let (compensated, bits) = self.row(format, "calibrated", &format!("{uniform} {calibrated}"))?;
        let mut rows = vec![plain, compensated];
        if !self.arguments.unmixed.iter().any(|name| name == format) {
            rows.push(self.row(format, "mixed", &format!("--bpw {bits} {calibrated}"))?.0);
        }
        Ok(rows)
    }

    fn calibrated(&self) -> String {
        format!("--calibrate {} --calibrate-tokens {}", self.calibration, self.arguments.calibrate_tokens)
    }

    /// One quantization, compared with the model: its line of the record, and its bits per weight.
    fn row(&self, format: &str, way: &str, options: &str) -> Result<(String, f64)> {
        let Arguments { model, windows, .. } = self.arguments;
        let out = format!("{WORK}/{}-{format}-{way}", self.arguments.name);
        let _ = fs::remove_dir_all(self.root.join(&out));
        let command = format!("metal-marlin quantize {model} --out {out} {options}");
        let quantized = self.json(&format!("{command} --restart"))?;
        let compared = self.json(&format!(
            "metal-marlin compare {out} --reference {model} --text {} --windows {windows}",
            self.scored
        ))?;
        let found = &compared["models"][0];
        let bits = number(&quantized, "bits_per_weight")?;
        let numbers = [
            number(&quantized, "len_bytes")?,
            number(found, "perplexity")?,
            number(found, "kl_mean")?,
            number(found, "kl_mean_error")?,
            number(found, "kl_99")?,
            number(found, "top1_agreement")?,
        ];
        let numbers = numbers.map(|number| format!("{number:.6}")).join(",");
        let device = compared["player"].as_str().unwrap_or_default().replace(',', ";");
        let row = format!("{},{device},{command},{format} {way},{bits:.6},{numbers}", self.stamp);
        println!("{row}");
        Ok((row, bits))
    }

    /// What the release binary prints for a command line with `--json`.
    fn json(&self, command: &str) -> Result<Value> {
        let mut words = command.split_whitespace();
        let program = self.root.join("target/release").join(words.next().unwrap_or_default());
        let mut call = Command::new(program);
        call.args(words).args([
            "--json",
            "--quiet",
            "--device",
            "cpu",
            "--threads",
            &self.threads.to_string(),
        ]);
        let text = output(self.root, &mut call)?;
        serde_json::from_str(&text).with_context(|| command.to_owned())
    }
}

/// The first and the second half of a text, cut at the end of a line, as files.
fn halves(root: &Path, text: &str) -> Result<(String, String)> {
    let whole = fs::read_to_string(root.join(text)).with_context(|| text.to_owned())?;
    let middle = (whole.len() / 2..whole.len()).find(|at| whole.is_char_boundary(*at)).unwrap_or_default();
    let cut = whole[middle..].find('\n').map_or(middle, |at| middle + at + 1);
    let halves = [("first", &whole[..cut]), ("second", &whole[cut..])];
    let [first, second] = halves.map(|(name, half)| {
        let path = format!("{WORK}/{name}-half.txt");
        fs::write(root.join(&path), half).map(|()| path)
    });
    Ok((first?, second?))
}

/// What a program prints, without the end of the last line.
fn output(root: &Path, command: &mut Command) -> Result<String> {
    let output = command.current_dir(root).output().with_context(|| format!("{command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let known = output.status.success() || output.status.code() == Some(BROKEN);
    ensure!(known, "{command:?} ended with {}: {errors}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

fn number(value: &Value, key: &str) -> Result<f64> {
    value[key].as_f64().with_context(|| format!("{key}: found {}, expected a number", value[key]))
}

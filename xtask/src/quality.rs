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
/// What a record rounds away of a size at most: a mix may be that much larger, so that the format fits.
const ROUNDED: f64 = 5e-7;
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
    /// Formats to which size no mix is made: beyond 4 bits there is little to win, and the smallest format
    /// leaves no choice.
    #[arg(long, value_delimiter = ',', default_value = "nf2,int8")]
    unmixed: Vec<String>,
    /// Only makes mixes, of the sizes that the record says, and keeps its other rows.
    #[arg(long)]
    mixes: bool,
    /// Surveys the model once, for the first mix, and makes the others with that survey.
    #[arg(long)]
    one_survey: bool,
    /// Formats measured at a time; each has as many threads as that leaves it.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// What plays the model, as `metal-marlin --device` names it.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Only writes the tables of docs/quantization.md anew, from the records.
    #[arg(long)]
    tables: bool,
}

/// Measures, records, and writes the tables.
pub fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    if !arguments.tables {
        call(root, "cargo build --release --package metal-marlin", &[])?;
        let record = root.join(RECORDS).join(format!("{}.csv", arguments.name));
        let before = match arguments.mixes {
            true => Some(fs::read_to_string(&record).with_context(|| record.display().to_string())?),
            false => None,
        };
        let rows = Run::new(root, arguments)?.rows(before.as_deref())?;
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

    /// Quantizes and compares, a line each; the formats only if there is no record of them.
    fn rows(&self, record: Option<&str>) -> Result<Vec<String>> {
        let Arguments { formats, unmixed, jobs, .. } = self.arguments;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(*jobs).build()?;
        pool.install(|| {
            let uniform = match record {
                Some(record) => record.lines().skip(1).map(str::to_owned).collect(),
                None => {
                    let rows = formats.par_iter().map(|format| self.format(format));
                    rows.collect::<Result<Vec<_>>>()?.concat()
                }
            };
            let wanted = |format: &str| {
                let names = |list: &[String]| list.iter().any(|name| name == format);
                names(formats) && !names(unmixed)
            };
            let mixed = self.mixed(&sizes(&uniform, wanted)?)?;
            with_rows(uniform, mixed)
        })
    }

    /// The rows of a format that all tensors get.
    fn format(&self, format: &str) -> Result<Vec<String>> {
        let uniform = format!("--format {format} --embed {format} --head {format}");
        let plain = self.row(format, "plain", &uniform)?;
        let calibrated = self.row(format, "calibrated", &format!("{uniform} {}", self.calibrated()))?;
        Ok(vec![plain, calibrated])
    }

    /// The rows of mixes of these names and sizes.
    fn mixed(&self, sizes: &[(String, String)]) -> Result<Vec<String>> {
        let row = |(name, bits): &(String, String), survey: &str| {
            self.row(name, "mixed", &format!("--bpw {bits} {}{survey}", self.calibrated()))
        };
        let survey = match self.arguments.one_survey {
            true => format!(" --survey {}/survey.json", self.out(SIZES[0], "mixed")),
            false => String::new(),
        };
        let (first, others) = sizes.split_at(usize::from(self.arguments.one_survey));
        let mut rows = first.iter().map(|size| row(size, "")).collect::<Result<Vec<_>>>()?;
        rows.extend(others.par_iter().map(|size| row(size, &survey)).collect::<Result<Vec<_>>>()?);
        Ok(rows)
    }

    /// Where a quantized model is written.
    fn out(&self, format: &str, way: &str) -> String {
        format!("{WORK}/{}-{format}-{way}", self.arguments.name)
    }

    fn calibrated(&self) -> String {
        format!("--calibrate {} --calibrate-tokens {}", self.calibration, self.arguments.calibrate_tokens)
    }

    /// One quantization, compared with the model: its line of the record.
    fn row(&self, format: &str, way: &str, options: &str) -> Result<String> {
        let Arguments { model, windows, device, .. } = self.arguments;
        let out = self.out(format, way);
        let _ = fs::remove_dir_all(self.root.join(&out));
        let command = format!("metal-marlin quantize {model} --out {out} {options} --device {device}");
        let quantized = self.json(&format!("{command} --restart"))?;
        let compared = self.json(&format!(
            "metal-marlin compare {out} --reference {model} --text {} --windows {windows} --device {device}",
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
        Ok(row)
    }

    /// What the release binary prints for a command line with `--json`.
    fn json(&self, command: &str) -> Result<Value> {
        let mut words = command.split_whitespace();
        let program = self.root.join("target/release").join(words.next().unwrap_or_default());
        let mut call = Command::new(program);
        call.args(words).args(["--json", "--quiet", "--threads", &self.threads.to_string()]);
        let text = output(self.root, &mut call)?;
        serde_json::from_str(&text).with_context(|| command.to_owned())
    }
}

/// Names and sizes of the mixes: [`SIZES`] first, then those of the calibrated `rows` whose format is wanted.
fn sizes(rows: &[String], wanted: impl Fn(&str) -> bool) -> Result<Vec<(String, String)>> {
    let mut sizes = SIZES.map(|size| (size.to_owned(), size.to_owned())).to_vec();
    for row in rows.iter().map(|line| page::row(line)) {
        let row = row?;
        if row.way == "calibrated" && wanted(row.format) {
            sizes.push((row.format.to_owned(), format!("{:.7}", row.bits + ROUNDED)));
        }
    }
    Ok(sizes)
}

/// The rows of a record with new ones, which take the place of those of the same `what`.
fn with_rows(rows: Vec<String>, new: Vec<String>) -> Result<Vec<String>> {
    let what = |line: &String| page::row(line).map(|row| format!("{} {}", row.format, row.way));
    let replaced = new.iter().map(what).collect::<Result<Vec<String>>>()?;
    let mut all = Vec::new();
    for line in rows {
        if !replaced.contains(&what(&line)?) {
            all.push(line);
        }
    }
    all.extend(new);
    Ok(all)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn line(what: &str, bits: f64) -> String {
        format!("d,c,cpu,x,{what},{bits},1,2.0,0.5,0,0,0.9")
    }

    #[test]
    fn mixes_have_the_sizes_of_calibrated_formats_that_are_wanted() {
        let rows = [line("int3 plain", 3.1), line("int3 calibrated", 3.304573), line("int8 calibrated", 8.1)];
        let found = sizes(&rows, |format| format != "int8").unwrap();
        let expected = [("3.41", "3.41"), ("int3", "3.3045735")];
        assert_eq!(found, expected.map(|(name, bits)| (name.to_owned(), bits.to_owned())));
        assert!(sizes(&["int3 calibrated".to_owned()], |_| true).is_err());
    }

    #[test]
    fn rows_that_are_not_measured_again_are_kept() {
        let rows = vec![line("int3 plain", 1.0), line("int3 mixed", 1.0), line("int4 mixed", 1.0)];
        let all = with_rows(rows.clone(), vec![line("int3 mixed", 2.0)]).unwrap();
        assert_eq!(all, [rows[0].clone(), rows[2].clone(), line("int3 mixed", 2.0)]);
    }
}

//! A survey as a file, from which runs of other sizes take the losses.
//!
//! ```text
//!  {
//!    "facts":  {"source": "9c..", ..}         what decided it: see `facts.rs`
//!    "probe":  "nf3"                          the format that the probe gave codes of
//!    "losses": {"lm_head.weight": [0.1, ..]}  of every tensor, one for each candidate, null where the
//!  }                                          format has no such rows
//! ```

use std::path::Path;

use marlin_format::Format;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::survey::Losses;
use crate::{Budget, Error, tasks::Task};

/// What the file is called in the directory of a model.
pub(super) const NAME: &str = "survey.json";

/// What a survey found, and what decided that.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SurveyFile {
    facts: Map<String, Value>,
    probe: String,
    losses: Losses,
}

impl SurveyFile {
    /// What a survey of these facts found.
    pub fn new(facts: Map<String, Value>, probe: &dyn Format, losses: Losses) -> SurveyFile {
        SurveyFile { facts, probe: probe.name().to_owned(), losses }
    }

    /// Reads the file of an earlier run of the same facts.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read or is no survey, and as [`SurveyFile::check`].
    pub fn open(
        path: &Path,
        facts: &Map<String, Value>,
        tasks: &[Task],
        budget: &Budget,
    ) -> Result<SurveyFile, Error> {
        use marlin_file::Error as FileError;
        let read = |source| FileError::Io { doing: "read", path: path.to_owned(), source };
        let json = |source| FileError::Json { file: path.display().to_string(), what: "survey", source };
        let bytes = std::fs::read(path).map_err(read)?;
        let survey: SurveyFile = serde_json::from_slice(&bytes).map_err(json)?;
        survey.check(path, facts, tasks, budget)?;
        Ok(survey)
    }

    /// Whether it is one of these facts, with losses of all [`Budget::units`] in all candidates.
    ///
    /// # Errors
    /// [`Error::OtherSurvey`] with the first fact that differs, or [`Error::Survey`] with the first tensor
    /// whose losses are none.
    fn check(
        &self,
        path: &Path,
        facts: &Map<String, Value>,
        tasks: &[Task],
        budget: &Budget,
    ) -> Result<(), Error> {
        if let Some((what, found, expected)) = marlin_file::differing_fact(&self.facts, facts) {
            return Err(Error::OtherSurvey { path: path.to_owned(), what, found, expected });
        }
        let error = |tensor: String, found: String, expected: &str| {
            Err(Error::Survey { path: path.to_owned(), tensor, found, expected: expected.to_owned() })
        };
        for task in Budget::units(tasks).map(|at| &tasks[at]) {
            let (name, candidates) = (&task.name, &budget.candidates);
            let losses = self.losses.get(name).map_or(&[][..], Vec::as_slice);
            if losses.len() != candidates.len() {
                let expected = format!("{}, one for each candidate", candidates.len());
                return error(name.clone(), losses.len().to_string(), &expected);
            }
            for (loss, format) in losses.iter().zip(candidates) {
                let has_rows = task.cols.is_multiple_of(format.layout().cols_multiple());
                let expected = match loss {
                    Some(loss) if has_rows && loss.is_finite() && *loss >= 0.0 => continue,
                    None if !has_rows => continue,
                    _ if has_rows => "a number, 0 at least",
                    _ => "null: the format has no rows of this length",
                };
                let found = loss.map_or("null".to_owned(), |loss| loss.to_string());
                return error(format!("{name} in {}", format.name()), found, expected);
            }
        }
        Ok(())
    }

    /// The losses of all [`Budget::units`], infinite where a format has no such rows.
    pub fn of_units(&self, tasks: &[Task]) -> Vec<Vec<f64>> {
        let of = |at: usize| {
            let losses = self.losses.get(&tasks[at].name).map_or(&[][..], Vec::as_slice);
            losses.iter().map(|loss| loss.unwrap_or(f64::INFINITY)).collect()
        };
        Budget::units(tasks).map(of).collect()
    }

    /// The bytes of the file.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a survey has only strings as keys")
    }
}

#[cfg(test)]
mod tests {
    use marlin_format::by_name;
    use marlin_model::Role;
    use serde_json::json;

    use super::*;

    const GATE: &str = "model.layers.0.mlp.gate_proj.weight";

    /// A survey of two tensors and a norm in two formats, of which q8_0 has no rows of 40 columns.
    fn survey() -> (Value, Vec<Task>, Budget) {
        let candidates = ["nf3", "q8_0"].map(|name| by_name(name).unwrap()).to_vec();
        let task = |name: &str, cols: usize, chosen: bool| {
            let (name, format) = (name.to_owned(), candidates[0]);
            Task { name, role: Role::Linear, format, chosen, rows: 4, cols }
        };
        let tasks = vec![task("lm_head.weight", 64, true), task("norm", 64, false), task(GATE, 40, true)];
        let losses = json!({ "lm_head.weight": [0.1, 1e-300], GATE: [0.25, null] });
        let facts = json!({ "source": "9c", "tokens of text": 512 });
        let survey = json!({ "facts": facts, "probe": "nf3", "losses": losses });
        (survey, tasks, Budget { bits_per_weight: 4.0, candidates })
    }

    /// What opening these bytes gives where the facts are those of [`survey`].
    fn open(bytes: &[u8]) -> Result<SurveyFile, String> {
        let (survey, tasks, budget) = survey();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        std::fs::write(&path, bytes).unwrap();
        let facts = survey["facts"].as_object().unwrap();
        let opened = SurveyFile::open(&path, facts, &tasks, &budget);
        let start = format!("{}: ", path.display());
        opened.map_err(|error| error.to_string().strip_prefix(&start).unwrap().to_owned())
    }

    #[test]
    fn what_is_written_is_read() {
        let (survey, tasks, budget) = survey();
        let facts = survey["facts"].as_object().unwrap().clone();
        let losses = Losses::deserialize(&survey["losses"]).unwrap();
        let written = SurveyFile::new(facts, budget.candidates[0], losses);
        assert_eq!(serde_json::from_slice::<Value>(&written.to_json()).unwrap(), survey);
        let read = open(&written.to_json()).unwrap();
        assert_eq!(read, written);
        assert_eq!(read.of_units(&tasks), [[0.1, 1e-300], [0.25, f64::INFINITY]]);
    }

    #[test]
    fn a_survey_of_another_run_is_refused_by_the_fact_that_differs() {
        let refused = |at: &str, value: Value, expected: &str| {
            let (mut survey, ..) = survey();
            survey["facts"][at] = value;
            assert_eq!(open(survey.to_string().as_bytes()).unwrap_err(), expected);
        };
        let start = "a survey of another run";
        refused("source", json!("9d"), &format!("{start}, source: found \"9d\", expected \"9c\""));
        refused("tokens of text", json!(8), &format!("{start}, tokens of text: found 8, expected 512"));
        refused("lens", json!(1), &format!("{start}, lens: found 1, expected nothing"));
    }

    #[test]
    fn losses_that_no_run_has_measured_are_refused_with_their_place() {
        let refused = |name: &str, losses: Value, expected: &str| {
            let (mut survey, ..) = survey();
            survey["losses"][name] = losses;
            let expected = format!("losses of {name}{expected}");
            assert_eq!(open(survey.to_string().as_bytes()).unwrap_err(), expected);
        };
        refused(GATE, json!([]), ": found 0, expected 2, one for each candidate");
        refused(GATE, json!([0.1, null, 0.2]), ": found 3, expected 2, one for each candidate");
        refused(GATE, json!([-1.5, null]), " in nf3: found -1.5, expected a number, 0 at least");
        refused(GATE, json!([null, null]), " in nf3: found null, expected a number, 0 at least");
        let no_rows = "expected null: the format has no rows of this length";
        refused(GATE, json!([0.1, 0.1]), &format!(" in q8_0: found 0.1, {no_rows}"));
    }

    #[test]
    fn a_file_that_is_no_survey_is_refused() {
        let (mut survey, ..) = survey();
        survey["losses"].as_object_mut().unwrap().remove(GATE);
        let expected = format!("losses of {GATE}: found 0, expected 2, one for each candidate");
        assert_eq!(open(survey.to_string().as_bytes()).unwrap_err(), expected);
        let text = survey.to_string();
        for broken in
            ["", "[]", &text[..text.len() / 2], &text.replace("0.1", "NaN"), &text.replace("0.1", "1e999")]
        {
            let error = open(broken.as_bytes()).unwrap_err();
            assert!(error.starts_with("survey is not valid: ") && error.contains("line 1"), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error() {
        let (_, tasks, budget) = survey();
        let opened = SurveyFile::open(Path::new("no/such/survey.json"), &Map::new(), &tasks, &budget);
        assert!(opened.unwrap_err().to_string().starts_with("no/such/survey.json: cannot read: "));
    }
}

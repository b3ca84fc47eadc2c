//! Chat templates against Hugging Face's rendering, as tests/data/templates.py recorded it.
//!
//! Shipped are templates of our own that use what published templates use. Published ones are under their
//! owners' licences: `MARLIN_TEXT_TEMPLATES` names a directory with a recording of any; without it that test
//! says that it did nothing.

use marlin_text::{ChatTemplate, Conversation, Error, Message};
use serde_json::Value;

/// Renders every case and returns how many agree, and a line for each that does not.
fn compare(golden: &Value) -> (usize, Vec<String>) {
    let (mut agreeing, mut differing) = (0, Vec::new());
    for (name, template) in golden["templates"].as_object().expect("templates") {
        let compiled = match ChatTemplate::new(template["source"].as_str().expect("a source")) {
            Ok(compiled) => compiled,
            Err(error) => {
                differing.push(format!("{name}: {error}"));
                continue;
            }
        };
        let tokens = golden["tokens"].as_object().expect("tokens");
        let compiled =
            tokens.iter().fold(compiled, |t, (key, text)| t.with_token(key, text.as_str().expect("text")));
        for (index, case) in golden["cases"].as_array().expect("cases").iter().enumerate() {
            let messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).expect("messages");
            let conversation = Conversation {
                messages: &messages,
                tools: case["tools"].as_array().map(Vec::as_slice),
                add_generation_prompt: case["add_generation_prompt"] == true,
                extra: case["extra"].as_object(),
            };
            let expected = &template["rendered"][index];
            let refused = expected["error"].as_str().is_some_and(|error| error.starts_with("TemplateError"));
            let difference = match (compiled.render(&conversation), expected["text"].as_str()) {
                (Ok(found), Some(text)) => first_difference(&found, text),
                (Err(Error::Refused { .. }), None) if refused => None,
                // Where Python stumbles over a type, a gentler reading is no fault.
                (_, None) if !refused => continue,
                (found, _) => Some(format!("{found:?}\n expected {expected}")),
            };
            match difference {
                Some(difference) => differing.push(format!("{name}, case {index}:\n found    {difference}")),
                None => agreeing += 1,
            }
        }
    }
    (agreeing, differing)
}

fn first_difference(found: &str, expected: &str) -> Option<String> {
    let same = found.chars().zip(expected.chars()).take_while(|(a, b)| a == b).count();
    let around = |text: &str| text.chars().skip(same.saturating_sub(40)).take(100).collect::<String>();
    (found != expected).then(|| format!("{:?}\n expected {:?}", around(found), around(expected)))
}

#[test]
fn our_templates_render_as_in_python() {
    let golden: Value = serde_json::from_str(include_str!("../data/templates.json")).expect("JSON");
    let (agreeing, differing) = compare(&golden);
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert_eq!(agreeing, 51, "three templates on 17 conversations");
}

#[test]
fn published_templates_render_as_in_python() {
    let Some(directory) = std::env::var_os("MARLIN_TEXT_TEMPLATES") else {
        eprintln!(
            "skipped: MARLIN_TEXT_TEMPLATES names no directory with a recording by tests/data/templates.py"
        );
        return;
    };
    let path = std::path::Path::new(&directory).join("templates.json");
    let golden = serde_json::from_slice(&std::fs::read(path).expect("recording")).expect("JSON");
    let (agreeing, differing) = compare(&golden);
    eprintln!("{agreeing} cases agree");
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
}

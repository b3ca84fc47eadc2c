//! Output parsers: reasoning, content and tool calls, for every cut of the output.

use marlin_text::{Error, Event, OutputParser, ParsedCall, SYNTAXES, Syntax};
use proptest::prelude::*;
use serde_json::{Value, json};

fn tools() -> Vec<Value> {
    let function = |name: &str, parameters: Value| {
        let function = json!({"name": name, "parameters": parameters});
        json!({"type": "function", "function": function})
    };
    vec![
        function(
            "weather",
            json!({"type": "object", "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "note": {"type": ["string", "null"]},
            "mode": {"enum": ["1", "2"]},
            "either": {"anyOf": [{"type": "string"}, {"type": "boolean"}]},
            "point": {"$ref": "#/$defs/point"},
            "loop": {"$ref": "#/properties/loop"}},
            "$defs": {"point": {"type": "object"}}}),
        ),
        function("ping", json!({"type": "object", "properties": {}})),
    ]
}

/// Neighbouring texts of one kind joined.
fn merged(events: Vec<Event>) -> Vec<Event> {
    let mut merged: Vec<Event> = Vec::new();
    for event in events {
        match (merged.last_mut(), event) {
            (Some(Event::Content(text)), Event::Content(more)) => text.push_str(&more),
            (Some(Event::Reasoning(text)), Event::Reasoning(more)) => text.push_str(&more),
            (_, event) => merged.push(event),
        }
    }
    merged
}

fn parse_pieces(syntax: &str, prompt: &str, tools: Option<&[Value]>, pieces: &[&str]) -> Vec<Event> {
    let mut parser = OutputParser::new(Syntax::find(syntax).expect("known"), prompt, tools);
    let mut events: Vec<Event> = pieces.iter().flat_map(|piece| parser.push(piece)).collect();
    events.extend(parser.finish());
    merged(events)
}

fn parse(syntax: &str, prompt: &str, output: &str) -> Vec<Event> {
    parse_pieces(syntax, prompt, Some(&tools()), &[output])
}

fn content(text: &str) -> Event {
    Event::Content(text.to_owned())
}

fn reasoning(text: &str) -> Event {
    Event::Reasoning(text.to_owned())
}

fn call(name: &str, arguments: &str) -> Event {
    Event::ToolCall(ParsedCall { name: name.to_owned(), arguments: arguments.to_owned() })
}

#[test]
fn glm_reasoning_is_open_in_the_prompt() {
    let events = parse("glm", "<|assistant|><think>", "\nHm.\n\nYes.</think>\n\nHello\n there \n");
    assert_eq!(events, [reasoning("Hm.\n\nYes."), content("Hello\n there \n")]);
    let events = parse("glm", "<|assistant|></think>", "\nHello");
    assert_eq!(events, [content("Hello")]);
    let events = parse("glm", "<think>", "never closed");
    assert_eq!(events, [reasoning("never closed")]);
    assert_eq!(parse("glm", "<think>", "</think>x"), [content("x")], "empty reasoning makes no event");
}

#[test]
fn a_model_may_open_its_reasoning_itself() {
    let events = parse("think", "<|im_start|>assistant\n", "\n<think>\nHm.\n</think>\n\nHi");
    assert_eq!(events, [reasoning("Hm."), content("Hi")]);
    assert_eq!(parse("think", "", "Use <think> so."), [content("Use <think> so.")], "only at the beginning");
    assert_eq!(parse("think", "", "a </think> b"), [content("a </think> b")]);
    assert_eq!(parse("think", "", "</think>\nHi"), [content("Hi")]);
    let events = parse("think", "<think>", "a <think> b</think>c</think>d");
    assert_eq!(events, [reasoning("a <think> b"), content("c</think>d")]);
}

#[test]
fn glm_calls() {
    let output = "</think>Let me see.\n<tool_call>weather\
                  <arg_key>city</arg_key><arg_value>Köln \"am\" Rhein</arg_value>\
                  <arg_key>days</arg_key><arg_value>2</arg_value></tool_call>\n<tool_call>ping</tool_call>\n";
    let expected = [
        content("Let me see."),
        call("weather", r#"{"city": "Köln \"am\" Rhein", "days": 2}"#),
        call("ping", "{}"),
    ];
    assert_eq!(parse("glm", "<think>", output), expected);
    let spaced =
        "</think><tool_call>\nweather\n<arg_key>days</arg_key>\n<arg_value> 2 </arg_value>\n</tool_call>done";
    assert_eq!(parse("glm", "<think>", spaced), [call("weather", r#"{"days": 2}"#), content("done")]);
}

#[test]
fn glm_values_follow_the_schema() {
    let value = |key: &str, raw: &str| {
        let output =
            format!("<tool_call>weather<arg_key>{key}</arg_key><arg_value>{raw}</arg_value></tool_call>");
        match parse("glm", "", &output).as_slice() {
            [Event::ToolCall(call)] => {
                let object: Value = serde_json::from_str(&call.arguments).expect("arguments are JSON");
                object[key].clone()
            }
            other => panic!("one call expected, found {other:?}"),
        }
    };
    assert_eq!(value("city", "5"), json!("5"));
    assert_eq!(value("city", "\"quoted\""), json!("\"quoted\""));
    assert_eq!(value("city", " \n code\n"), json!(" \n code\n"), "strings are raw");
    assert_eq!(value("city", ""), json!(""));
    assert_eq!(
        value("city", "<tool_call>x</tool_call><arg_key>"),
        json!("<tool_call>x</tool_call><arg_key>")
    );
    assert_eq!(value("days", "5"), json!(5));
    assert_eq!(value("days", "many"), json!("many"), "what is no JSON stays a string");
    assert_eq!(value("note", "null"), json!(null));
    assert_eq!(value("note", "7"), json!("7"));
    assert_eq!(value("mode", "1"), json!("1"));
    assert_eq!(value("either", "true"), json!(true));
    assert_eq!(value("either", "3"), json!("3"));
    assert_eq!(value("point", "{\"x\": [1, null]}"), json!({"x": [1, null]}));
    assert_eq!(value("loop", "1"), json!(1), "a reference to itself says nothing");
    assert_eq!(value("unknown", "[1]"), json!([1]));
    assert_eq!(value("unknown", "\"text\""), json!("\"text\""));
    assert_eq!(value("unknown", "plain"), json!("plain"));
}

#[test]
fn big_numbers_keep_their_digits_and_later_keys_win() {
    let output = "<tool_call>other<arg_key>n</arg_key><arg_value>123456789012345678901234567890</arg_value>\
                  <arg_key>a</arg_key><arg_value>1</arg_value>\
                  <arg_key>a</arg_key><arg_value>2</arg_value></tool_call>";
    assert_eq!(parse("glm", "", output), [call("other", r#"{"n": 123456789012345678901234567890, "a": 2}"#)]);
}

#[test]
fn broken_glm_calls_come_back_as_text() {
    for text in [
        "<tool_call>",
        "<tool_call></tool_call>",
        "<tool_call>two words</tool_call>",
        "<tool_call>weather<arg_key>city</arg_key></tool_call>",
        "<tool_call>weather<arg_value>x</arg_value></tool_call>",
        "<tool_call>weather<arg_key>city</arg_key>x<arg_value>y</arg_value></tool_call>",
        "<tool_call>weather<arg_key></arg_key><arg_value>y</arg_value></tool_call>",
        "<tool_call>weather<arg_key>city</arg_key><arg_value>never closed</tool_call> and so on",
        "<tool_call>{\"name\": \"weather\"}</tool_call>",
        "</tool_call></arg_value>",
        "x <tool_call>weather<arg_key>city",
        "<tool_call>weather",
    ] {
        assert_eq!(parse("glm", "", text), [content(text)]);
    }
    let long = format!("<tool_call>{}", "n".repeat(1000));
    assert_eq!(parse("glm", "", &long), [content(&long)]);
    let events = parse("glm", "", "<tool_call>oops <tool_call>ping</tool_call>");
    assert_eq!(
        events,
        [content("<tool_call>oops"), call("ping", "{}")],
        "a broken call does not hide the next one"
    );
}

#[test]
fn calls_need_tools_and_answers() {
    let text = "<tool_call>ping</tool_call>";
    assert_eq!(parse_pieces("glm", "", None, &[text]), [content(text)], "no tools, no calls");
    assert_eq!(parse("plain", "", text), [content(text)]);
    assert_eq!(parse("think", "", text), [content(text)]);
    assert_eq!(parse("glm", "<think>", text), [reasoning(text)], "what is only thought is not called");
}

#[test]
fn hermes_calls() {
    let output = "<think>\nHm.\n</think>\n\nSure.\n<tool_call>\n{\"name\": \"weather\", \
                  \"arguments\": {\"city\": \"</tool_call> \\\" x\", \"n\": 1.50}}\n</tool_call>\n\
                  <tool_call>{\"arguments\": null, \"name\": \"ping\"}</tool_call>";
    let expected = [
        reasoning("Hm."),
        content("Sure."),
        call("weather", "{\"city\": \"</tool_call> \\\" x\", \"n\": 1.50}"),
        call("ping", "{}"),
    ];
    assert_eq!(parse("hermes", "", output), expected);
    let as_string = r#"<tool_call>{"name": "f", "arguments": "{\"a\": 1}"}</tool_call>"#;
    assert_eq!(parse("hermes", "", as_string), [call("f", "{\"a\": 1}")]);
    let unclosed = r#"<tool_call>{"name": "f", "arguments": {}}"#;
    assert_eq!(parse("hermes", "", unclosed), [call("f", "{}")], "complete but for the closing tag");
}

#[test]
fn broken_hermes_calls_come_back_as_text() {
    for text in [
        "<tool_call></tool_call>",
        "<tool_call>[1]</tool_call>",
        "<tool_call>{\"name\": 5, \"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": \"text\"}</tool_call>",
        "<tool_call>{\"arguments\": {}}</tool_call> tail",
        "<tool_call>{\"name\": \"f\", \"arguments\": {</tool_call>",
        "<tool_call>{\"name\": \"unterminated}</tool_call> more",
        "text <tool_call> is a tag",
    ] {
        assert_eq!(parse("hermes", "", text), [content(text)]);
    }
}

#[test]
fn plain_output_passes_at_once() {
    let mut parser = OutputParser::new(Syntax::find("plain").expect("known"), "<think>", None);
    assert_eq!(parser.push(" <thi \n"), [content(" <thi \n")]);
    assert!(parser.finish().is_empty());
}

#[test]
fn text_is_not_held_longer_than_needed() {
    let mut parser = OutputParser::new(Syntax::find("glm").expect("known"), "</think>", Some(&tools()));
    assert_eq!(parser.push("Hello, wor"), [content("Hello, wor")]);
    assert_eq!(parser.push("ld <to"), [content("ld")]);
    assert_eq!(parser.push("n>\n"), [content(" <ton>")]);
    assert_eq!(parser.finish(), [content("\n")]);
}

#[test]
fn the_template_tells_the_syntax() {
    let name = |template: Option<&str>| Syntax::of_template(template).name;
    assert_eq!(name(Some("… <tool_call>{n}<arg_key>{k}</arg_key> …")), "glm");
    assert_eq!(name(Some("<tool_call>\n{\"name\": … </think>")), "hermes");
    assert_eq!(name(Some("<tool_call>\n<function=x> <think></think>")), "think");
    assert_eq!(name(Some("{{ message.content.split('</think>')[-1] }}")), "think");
    assert_eq!(name(Some("{{ message.content }}")), "plain");
    assert_eq!(name(None), "plain");
    let error = Syntax::find("xml").expect_err("unknown");
    assert!(matches!(error, Error::UnknownParser { .. }));
    assert_eq!(
        error.to_string(),
        "output parser 'xml' is unknown, expected one of: glm, hermes, think, plain"
    );
}

/// Output made of the tags of all syntaxes, well-formed calls, and text.
fn soup() -> impl Strategy<Value = String> {
    let tags = [
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
        "<arg_key>",
        "</arg_key>",
        "<arg_value>",
        "</arg_value>",
    ];
    let words = ["weather", "ping", "city", "days", "2", " ", "\n", "{", "}", "\"", "\\", "é🙂", "<", "x y"];
    let calls = [
        "<tool_call>ping</tool_call>",
        "<tool_call>weather<arg_key>city</arg_key><arg_value>Rom</arg_value></tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"b\"}}</tool_call>",
    ];
    let piece = prop_oneof![
        6 => proptest::sample::select(tags.to_vec()).prop_map(str::to_owned),
        2 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned),
        3 => proptest::sample::select(calls.to_vec()).prop_map(str::to_owned),
        1 => "[<>/a-c\"\\\\ \n]{0,8}",
    ];
    proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

/// The characters that are no whitespace.
fn dense(text: &str) -> String {
    text.split_whitespace().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn cuts_play_no_role(
        output in soup(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
        syntax in 0usize..4,
        prompt in proptest::sample::select(["", "<think>", "</think>\n"].as_slice()),
        has_tools in any::<bool>(),
    ) {
        let tools = tools();
        let tools = has_tools.then_some(tools.as_slice());
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(output.len() + 1)).collect();
        ends.extend([0, output.len()]);
        ends.retain(|&end| output.is_char_boundary(end));
        ends.sort_unstable();
        let pieces: Vec<&str> = ends.windows(2).map(|pair| &output[pair[0]..pair[1]]).collect();
        let every: Vec<&str> = output.split("").collect();

        let name = SYNTAXES[syntax].name;
        let whole = parse_pieces(name, prompt, tools, &[&output]);
        prop_assert_eq!(&parse_pieces(name, prompt, tools, &pieces), &whole);
        prop_assert_eq!(&parse_pieces(name, prompt, tools, &every), &whole);
        if let Some(text) = whole.iter().find_map(|event| match event {
            Event::Content(text) | Event::Reasoning(text) => Some(text),
            Event::ToolCall(call) => {
                let arguments: Value = serde_json::from_str(&call.arguments).expect("arguments are JSON");
                assert!(arguments.is_object() && !call.name.is_empty());
                None
            }
        }) {
            prop_assert!(!text.is_empty());
        }
    }

    /// With the tags and calls taken out of both, output and events hold the same text.
    #[test]
    fn nothing_is_lost(
        output in soup(),
        syntax in 0usize..4,
        prompt in proptest::sample::select(["", "<think>"].as_slice()),
    ) {
        let mut said = String::new();
        let mut calls = 0;
        for event in parse(SYNTAXES[syntax].name, prompt, &output) {
            match event {
                Event::Content(text) | Event::Reasoning(text) => said.push_str(&text),
                Event::ToolCall(_) => calls += 1,
            }
        }
        if calls == 0 {
            // All that may be missing is an opening and closing think tag, each at most as often as it was
            // recognised.
            let bare = |text: &str| dense(&text.replace("<think>", "").replace("</think>", ""));
            prop_assert_eq!(bare(&said), bare(&output));
            prop_assert!(said.len() <= output.len());
        }
    }
}

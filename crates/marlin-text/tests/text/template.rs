//! Chat templates: where they come from, what messages become, and templates that fail or never end.

use marlin_text::{ChatTemplate, Content, Conversation, Error, Message, Tokenizer};
use serde_json::{Value, json};

use crate::golden::Golden;

fn messages(json: Value) -> Vec<Message> {
    serde_json::from_value(json).expect("messages")
}

fn render(source: &str, messages: &[Message]) -> Result<String, Error> {
    let conversation = Conversation { messages, add_generation_prompt: true, ..Conversation::default() };
    ChatTemplate::new(source).expect("compiles").render(&conversation)
}

#[test]
fn a_config_gives_template_and_tokens() {
    let config = json!({
        "bos_token": {"content": "<s>", "special": true}, "eos_token": "</s>", "pad_token": null,
        "chat_template": "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{{ pad_token }}",
    });
    let template = ChatTemplate::from_config(config.to_string().as_bytes()).expect("reads").expect("has one");
    let conversation = Conversation { messages: &[Message::new("user", "hi")], ..Conversation::default() };
    assert_eq!(template.render(&conversation).expect("renders"), "<s>hi</s>");
    assert!(ChatTemplate::from_config(b"{}").expect("reads").is_none());

    let apart =
        ChatTemplate::new("{{ bos_token }}|").expect("compiles").with_config(config.to_string().as_bytes());
    assert_eq!(apart.expect("reads").render(&Conversation::default()).expect("renders"), "<s>|");
}

#[test]
fn named_templates() {
    let config = json!({"chat_template": [
        {"name": "default", "template": "default"},
        {"name": "tool_use", "template": "tools {{ tools | length }}"},
    ]});
    let template =
        ChatTemplate::from_config(config.to_string().as_bytes()).expect("reads").expect("has some");
    assert_eq!(template.render(&Conversation::default()).expect("renders"), "default");
    let tools = [json!({})];
    let with_tools = Conversation { tools: Some(&tools), ..Conversation::default() };
    assert_eq!(template.render(&with_tools).expect("renders"), "tools 1");
    assert_eq!(template.source(), "default");

    let error = ChatTemplate::from_named([("rag", "x")]).expect_err("no default");
    assert_eq!(error.to_string(), "chat template: found names [rag], expected 'default' among them");
}

#[test]
fn unreadable_configs_are_errors() {
    for config in ["", "{", "[]]", "{\"chat_template\": 5}", "{\"chat_template\": [{\"name\": \"x\"}]}"] {
        assert!(matches!(ChatTemplate::from_config(config.as_bytes()), Err(Error::Json { .. })), "{config}");
    }
    let error = ChatTemplate::new("line one\n{% if %}").expect_err("does not compile").to_string();
    assert!(error.starts_with("chat template 'default': ") && error.contains(":2"), "{error}");
}

#[test]
fn wire_messages_become_what_templates_expect() {
    let wire = messages(json!([
        {"role": "user", "custom": 7,
         "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "c1", "type": "function",
             "function": {"name": "f", "arguments": "{\"b\": 1, \"a\": \"x\"}"}}]},
        {"role": "tool", "tool_call_id": "c1", "name": "f", "content": "done"},
        {"role": "assistant", "tool_calls": null, "reasoning": "why"},
    ]));
    let source = "{% for m in messages %}{{ m.role }}={{ m.content }}{{ m.custom }}\
                  {% for c in m.tool_calls %}{{ c.id }}\
                  {% for k, v in c.function.arguments.items() %},{{ k }}:{{ v }}{% endfor %}{% endfor %}\
                  {{ m.tool_call_id }}{{ m.reasoning_content }};{% endfor %}";
    let text = render(source, &wire).expect("renders");
    assert_eq!(text, "user=one\ntwo7;assistant=c1,b:1,a:x;tool=donec1;assistant=why;");

    let image = messages(
        json!([{"role": "user", "content": [{"type": "image", "url": "u"}, {"type": "text", "text": "t"}]}]),
    );
    let source = "{% for p in messages[0].content %}<{{ p.type }}>{{ p.text }}{% endfor %}";
    assert_eq!(render(source, &image).expect("renders"), "<image><text>t");
    assert_eq!(image[0].content.as_text(), None);
    assert_eq!(Content::from("x").as_text().as_deref(), Some("x"));

    let back = serde_json::to_value(&wire).expect("serializes");
    assert_eq!(messages(back), wire, "messages survive the wire");
}

#[test]
fn a_tokenizer_gives_its_roles() {
    let vocab = Golden::read(include_str!("../data/scores.json")).vocab();
    let tokenizer = Tokenizer::from_gguf(&vocab).expect("vocabulary loads");
    let template = ChatTemplate::new("{{ bos_token }}{{ eos_token }}{{ unk_token }}").expect("compiles");
    let text = template.with_tokenizer(&tokenizer).render(&Conversation::default()).expect("renders");
    assert_eq!(text, "<s></s><unk>");
}

/// Arguments that are no JSON object stay the text they were.
#[test]
fn broken_arguments_stay_text() {
    let call = |arguments: &str| {
        let function = json!({"name": "f", "arguments": arguments});
        messages(json!([{"role": "assistant", "tool_calls": [{"function": function}]}]))
    };
    let source = "{% set a = messages[0].tool_calls[0].function.arguments %}{{ a is string }}{{ a }}";
    assert_eq!(render(source, &call("{\"a\":")).expect("renders"), "True{\"a\":");
    assert_eq!(render(source, &call("[1]")).expect("renders"), "True[1]");
    assert_eq!(render(source, &call("{}")).expect("renders"), "False{}");
}

#[test]
fn extra_variables_override() {
    let template = ChatTemplate::new("{{ enable_thinking }}{{ bos_token }}")
        .expect("compiles")
        .with_token("bos_token", "a");
    let extra = json!({"enable_thinking": false, "bos_token": "b"});
    let conversation = Conversation { extra: extra.as_object(), ..Conversation::default() };
    assert_eq!(template.render(&conversation).expect("renders"), "Falseb");
}

#[test]
fn a_refusal_is_told_from_a_failure() {
    let user = [Message::new("user", "x")];
    let error = render("{{ raise_exception('System role not supported') }}", &user).expect_err("refuses");
    assert_eq!(
        error.to_string(),
        "chat template 'default' refuses these messages: System role not supported"
    );
    let error = render("\n{{ messages[0].content.nothing.more }}", &user).expect_err("fails");
    assert!(matches!(error, Error::Render { messages: 1, .. }), "{error}");
    assert!(error.to_string().contains("default:2"), "{error}");
    let error = render("{{ messages | frobnicate }}", &user).expect_err("no such filter");
    assert!(error.to_string().contains("frobnicate"), "{error}");
}

#[test]
fn templates_that_never_end_or_write_too_much_are_stopped() {
    let nest = "{% for a in range(9999) %}".repeat(4) + "x" + &"{% endfor %}".repeat(4);
    let repeat = |times: u32, step: &str, result: &str| {
        format!(
            "{{% set ns = namespace(v=['x' * 64]) %}}\
             {{% for i in range({times}) %}}{{% set ns.v = {step} %}}{{% endfor %}}{{{{ {result} }}}}"
        )
    };
    let bombs = [
        nest,
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".to_owned(),
        "{{ 'x' * 1000000000 }}".to_owned(),
        repeat(60, "ns.v ~ ns.v", "ns.v"),
        repeat(60, "[ns.v, ns.v]", "ns.v | tojson"),
        repeat(1000, "[ns.v]", "ns.v | tojson"),
    ];
    for bomb in bombs {
        let error = render(&bomb, &[]).expect_err("must be stopped");
        assert!(matches!(error, Error::Render { .. }), "{bomb}: {error}");
    }
}

#[test]
fn a_long_conversation_has_fuel_enough() {
    let golden: Value = serde_json::from_str(include_str!("../data/templates.json")).expect("JSON");
    let source = golden["templates"]["think.jinja"]["source"].as_str().expect("a source");
    let turns: Vec<Message> = (0..4000)
        .map(|turn| Message::new(if turn % 2 == 0 { "user" } else { "assistant" }, "word ".repeat(50)))
        .collect();
    let text = render(source, &turns).expect("renders");
    assert_eq!(text.matches("[user]").count(), 2000);
    let long = [Message::new("user", "x".repeat(8_000_000))];
    assert!(render(source, &long).expect("renders").len() > 8_000_000);
}

#[test]
fn the_date_is_formatted_as_in_python() {
    let year = render("{{ strftime_now('%Y') }}", &[]).expect("renders");
    assert!(year.len() == 4 && year.as_str() >= "2025", "{year}");
    let date = render("{{ strftime_now('%d %b %Y') }}|{{ strftime_now('%Y-%m-%d') }}", &[]).expect("renders");
    let (words, digits) = date.split_once('|').expect("two forms");
    assert_eq!((words.len(), words[..2].len(), &words[7..]), (11, 2, &digits[..4]));
    render("{{ strftime_now('%!') }}", &[]).expect_err("no such directive");
}

//! Raw argument texts to JSON, with the help of the tools' schemas.
//!
//! A value is a string where its schema says so, JSON where it is JSON that the schema allows, and a string
//! otherwise.

use std::collections::HashMap;

use serde_json::Value;

/// Schemas looked at for one argument; references may go round in circles.
const MAX_SCHEMAS: usize = 200;

/// The parameter schemas of the tools that may be called.
#[derive(Debug)]
pub(super) struct Tools {
    parameters: HashMap<String, Value>,
}

impl Tools {
    /// Reads `{"type": "function", "function": {"name": …, "parameters": …}}` or the inner object alone.
    pub(super) fn new(tools: &[Value]) -> Self {
        let function = |tool: &Value| -> Option<(String, Value)> {
            let function = tool.get("function").unwrap_or(tool);
            Some((function["name"].as_str()?.to_owned(), function["parameters"].clone()))
        };
        Self { parameters: tools.iter().filter_map(function).collect() }
    }

    /// The arguments of a call as the text of a JSON object, in the order given.
    pub(super) fn arguments(tools: Option<&Self>, name: &str, raw: &[(String, String)]) -> String {
        let parameters = tools.and_then(|tools| tools.parameters.get(name)).unwrap_or(&Value::Null);
        let member = |(key, value): &(String, String)| {
            let mut left = MAX_SCHEMAS;
            let types = Types::of(&parameters["properties"][key], parameters, &mut left);
            format!("{}: {}", quote(key), json(value, types))
        };
        format!("{{{}}}", raw.iter().map(member).collect::<Vec<_>>().join(", "))
    }
}

/// The JSON types a schema allows.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Types {
    string: bool,
    /// Number, boolean, null, array or object, as bits in this order; an integer counts as a number.
    others: u8,
}

impl Types {
    const ANY: Self = Self { string: true, others: 0x1F };

    fn named(name: &str) -> Self {
        let others = match name {
            "string" => return Self { string: true, others: 0 },
            "number" | "integer" => 1,
            "boolean" => 2,
            "null" => 4,
            "array" => 8,
            "object" => 16,
            _ => return Self::ANY,
        };
        Self { string: false, others }
    }

    fn of_value(value: &Value) -> Self {
        Self::named(match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        })
    }

    fn union(self, other: Self) -> Self {
        Self { string: self.string || other.string, others: self.others | other.others }
    }

    fn any_of<'a>(items: &'a [Value], types: impl FnMut(&'a Value) -> Self) -> Self {
        items.iter().map(types).reduce(Self::union).unwrap_or(Self::ANY)
    }

    /// What `schema` allows; anything where it does not say, or once `left` schemas have been looked at.
    /// References lead into `root`.
    fn of(schema: &Value, root: &Value, left: &mut usize) -> Self {
        let Value::Object(schema) = schema else { return Self::ANY };
        *left = left.saturating_sub(1);
        if *left == 0 {
            return Self::ANY;
        }
        match schema.get("type") {
            Some(Value::String(name)) => return Self::named(name),
            Some(Value::Array(names)) => {
                return Self::any_of(names, |name| name.as_str().map_or(Self::ANY, Self::named));
            }
            _ => {}
        }
        if let Some(target) =
            schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#'))
        {
            return root.pointer(target).map_or(Self::ANY, |schema| Self::of(schema, root, left));
        }
        if let Some(value) = schema.get("const") {
            return Self::of_value(value);
        }
        if let Some(Value::Array(values)) = schema.get("enum") {
            return Self::any_of(values, Self::of_value);
        }
        let list = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| schema.get(*key)?.as_array());
        list.map_or(Self::ANY, |list| Self::any_of(list, |schema| Self::of(schema, root, left)))
    }
}

/// One value as JSON text.
fn json(raw: &str, types: Types) -> String {
    let text = raw.trim();
    match serde_json::from_str::<Value>(text) {
        // Quotes are part of a raw string, unless no string is allowed at all.
        Ok(Value::String(_)) if types.string => quote(raw),
        Ok(value) if !types.string || Types::of_value(&value).others & types.others != 0 => text.to_owned(),
        _ => quote(raw),
    }
}

fn quote(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

//! Which params name something that the host fetches. Manifests were checked to say so only where this looks.

use serde_json::{Map, Value};

/// JSON pointers to the properties with `x-fetch: image`, as far as plain `properties` lead.
pub fn pictures(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(schema, "", &mut found);
    found
}

fn collect(schema: &Value, path: &str, found: &mut Vec<String>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
        collect(property, &path, found);
        if property.get("x-fetch").is_some_and(|what| what == "image") {
            found.push(path);
        }
    }
}

/// What a pointer leads to in params.
pub fn at<'p>(params: &'p Map<String, Value>, pointer: &str) -> Option<&'p Value> {
    let (name, rest) = split(pointer)?;
    params.get(&name)?.pointer(rest)
}

pub fn at_mut<'p>(params: &'p mut Map<String, Value>, pointer: &str) -> Option<&'p mut Value> {
    let (name, rest) = split(pointer)?;
    params.get_mut(&name)?.pointer_mut(rest)
}

/// The name of the param, and the pointer into it.
fn split(pointer: &str) -> Option<(String, &str)> {
    let path = pointer.strip_prefix('/')?;
    let end = path.find('/').unwrap_or(path.len());
    let (name, rest) = path.split_at(end);
    Some((name.replace("~1", "/").replace("~0", "~"), rest))
}

#[cfg(test)]
mod tests {
    use crate::{Fallback, ParamsSchema};
    use serde_json::{Map, Value, json};

    fn schema() -> ParamsSchema {
        let picture = json!({ "type": ["string", "null"], "default": null, "x-fetch": "image" });
        let schema = json!({ "type": "object", "properties": {
            "plain": picture,
            "a/b": { "type": "object", "default": {}, "properties": { "c~d": picture, "scale": { "default": 1 } } },
            "absent": { "type": ["string", "null"], "x-fetch": "image" },
            "list": { "type": "array", "default": [], "items": { "properties": { "not": picture } } },
            "other": { "default": "data:", "x-fetch": "video" },
        } });
        ParamsSchema::compile(&schema, Fallback::Input).expect("a schema")
    }

    fn params(wish: Value) -> Map<String, Value> {
        let wish = wish.as_object().cloned().expect("an object");
        schema().create(&wish).expect("right").params
    }

    #[test]
    fn pictures_are_found_along_plain_properties() {
        assert_eq!(schema().pictures(), ["/plain", "/a~1b/c~0d", "/absent"]);
        let params = params(json!({ "plain": "", "a/b": { "c~d": "https://x/" } }));
        let source = |pointer| schema().picture_source(&params, pointer).map(str::to_owned);
        let found = ["/plain", "/a~1b/c~0d", "/absent"].map(source);
        assert_eq!(found, [None, Some("https://x/".to_owned()), None]);
    }

    #[test]
    fn a_pipeline_gets_the_path_or_null_and_a_plan_what_was_written() {
        let params = params(
            json!({ "plain": "https://y/", "a/b": { "c~d": "https://x/" }, "list": [{ "not": "z" }] }),
        );
        let path = |pointer: &str| (pointer != "/plain").then(|| format!("/pictures{pointer}"));
        let for_pipeline = Value::Object(schema().for_pipeline(&params, path));
        let wanted = json!({
            "plain": null, "a/b": { "c~d": "/pictures/a~1b/c~0d", "scale": 1 }, "list": [{ "not": "z" }],
            "other": "data:",
        });
        assert_eq!(for_pipeline, wanted);
        assert_eq!(schema().for_plugin(&params)["a/b"]["c~d"], "https://x/");
        // Nothing is wished: nothing is given, whatever there is.
        let none = self::params(json!({ "plain": "" }));
        let for_pipeline = schema().for_pipeline(&none, |_| Some("/left over".to_owned()));
        assert_eq!(
            (&for_pipeline["plain"], &for_pipeline["a/b"]["c~d"]),
            (&Value::Null, &Value::Null)
        );
    }
}

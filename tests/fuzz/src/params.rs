//! Params of a new stream, and changes of them. An input is lines of JSON: a schema, the params, then one change each.
//! In place of a schema, a number is one of our own plugins' claims; a line that is no object says nothing.

use crate::schemas;
use host_stream::{Checked, Fallback, ParamError, ParamsSchema, with_host_params};
use serde_json::{Map, Value};
use std::sync::OnceLock;

pub const WORDS: &[&str] = &[
    "\"model_id\":\"stabilityai/sd-turbo\"",
    "\"prompt\":[[\"a\",1]]",
    "\"prompt\":null",
    "\"seed\":[[1,0.5],[2,0.5]]",
    "\"lora_dict\":{\"a\":1}",
    "\"lora_dict\":null",
    "\"controlnets\":[{}]",
    "\"ip_adapter\":{\"enabled\":true}",
    "\"ip_adapter\":{\"scale\":null}",
    "\"image_preprocessing\":{\"processors\":[{\"type\":\"canny\",\"params\":{}}]}",
    "\"t_index_list\":[0,1]",
    "\"width\":512",
    "\"fallback\":\"black\"",
    "\"fit\":\"crop\"",
    "\"x-merge\":\"keys\"",
    "\"x-null\":\"clear\"",
    "\"x-apply\":\"hot\"",
    "\"type\":[\"object\",\"null\"]",
    "\"default\":{\"a\":null}",
    "\"properties\":{\"a\":{}}",
    "\"$ref\":\"#/properties/a\"",
    "\"anyOf\":[{\"type\":\"object\"},{\"type\":\"array\"}]",
    "\"items\":{\"properties\":{}}",
    "null",
    "1e400",
    "-0.0",
    "1.0",
    "18446744073709551616",
    "\n",
];

/// As many changes as one input makes.
const MOST_CHANGES: usize = 8;
/// Of one mistake; the API cuts pointers, which are the request's own.
const LONGEST_MESSAGE: usize = 2000;
const MOST_ERRORS: usize = 16;

/// A schema with what else is known of it.
struct Subject {
    compiled: ParamsSchema,
    root: Value,
    /// Of our own plugins more is promised.
    is_own: bool,
}

pub fn params(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let fuzzed;
    let subject = match serde_json::from_str(first) {
        Ok(Value::Object(schema)) => match Subject::new(&Value::Object(schema), false) {
            Some(subject) => {
                fuzzed = subject;
                &fuzzed
            }
            None => return false,
        },
        _ => own(first.trim().parse().unwrap_or_default()),
    };
    let mut objects = lines.map(|line| match serde_json::from_str(line) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    });
    let wish = objects.next().unwrap_or_default();
    let Some(mut current) = subject.created(&wish) else { return false };
    for change in objects.take(MOST_CHANGES) {
        current = subject.changed(&current, &change).unwrap_or(current);
    }
    true
}

fn own(number: usize) -> &'static Subject {
    static OWN: OnceLock<Vec<Subject>> = OnceLock::new();
    let own = OWN.get_or_init(|| {
        let compiled = schemas::own().iter().map(|schema| Subject::new(schema, true));
        compiled.map(|subject| subject.expect("our schemas are valid")).collect()
    });
    &own[number % own.len()]
}

impl Subject {
    fn new(schema: &Value, is_own: bool) -> Option<Self> {
        let compiled = ParamsSchema::compile(schema, Fallback::Input).ok()?;
        Some(Self { compiled, root: with_host_params(schema, Fallback::Input), is_own })
    }

    fn created(&self, wish: &Map<String, Value>) -> Option<Map<String, Value>> {
        let params = self.accepted(self.compiled.create(wish))?;
        for (name, sent) in wish.iter().filter(|(name, _)| self.compiled.has(name)) {
            assert!(params.contains_key(name) || sent.is_null(), "`{name}` got lost");
        }
        self.stands(&params);
        let (plugin, cold) = (self.compiled.for_plugin(&params), self.compiled.cold(&params));
        for (name, cold) in &cold {
            assert!(is_part_of(cold, plugin.get(name)), "`{name}` is cold in another way");
        }
        let unchecked = ParamsSchema::unchecked(&params, Fallback::Input);
        assert!(unchecked.is_ok(), "params without their plugin's schema");
        Some(params)
    }

    fn changed(
        &self,
        old: &Map<String, Value>,
        change: &Map<String, Value>,
    ) -> Option<Map<String, Value>> {
        let new = self.accepted(self.compiled.patch(old, change))?;
        self.stands(&new);
        self.keeps_what_was_not_named(old, change, &new);
        self.tells_every_difference(old, &new);
        let again = self.compiled.patch(&new, change);
        let again = again.expect("what was accepted is accepted again").params;
        assert_eq!(again, new, "the same change a second time changes nothing");
        Some(new)
    }

    fn accepted(&self, answer: Result<Checked, Vec<ParamError>>) -> Option<Map<String, Value>> {
        match answer {
            Ok(Checked { params, warnings }) => {
                assert!(warnings.len() <= MOST_ERRORS, "{} warnings", warnings.len());
                assert!(warnings.iter().all(|warning| warning.len() <= LONGEST_MESSAGE));
                Some(params)
            }
            Err(errors) => {
                assert!((1..=MOST_ERRORS).contains(&errors.len()), "{} errors", errors.len());
                // A strange schema may have names and choices of any length.
                let longest = errors.iter().map(|error| error.message.len()).max();
                assert!(!self.is_own || longest <= Some(LONGEST_MESSAGE), "{errors:?}");
                None
            }
        }
    }

    /// What was accepted is right, complete and the plugin's.
    fn stands(&self, params: &Map<String, Value>) {
        for again in [self.compiled.create(params), self.compiled.patch(params, &Map::new())] {
            let again = again.expect("accepted params are right");
            assert_eq!(&again.params, params, "accepted params are complete");
            assert_eq!(again.warnings, Vec::<String>::new(), "accepted params are known");
        }
        for (name, property) in self.properties().filter(|_| self.is_own) {
            let is_given = params.contains_key(name);
            assert!(is_given || property.get("default").is_none(), "`{name}` has no value");
        }
    }

    fn keeps_what_was_not_named(
        &self,
        old: &Map<String, Value>,
        change: &Map<String, Value>,
        new: &Map<String, Value>,
    ) {
        for (name, property) in self.properties() {
            let is_clearing = property.get("x-null").is_some_and(|word| word == "clear");
            match change.get(name) {
                None => assert_eq!(new.get(name), old.get(name), "`{name}` was not named"),
                // A reference may lead to where that is said.
                Some(Value::Null) if !is_clearing && property.get("$ref").is_none() => {
                    assert_eq!(new.get(name), old.get(name), "null leaves `{name}`")
                }
                Some(Value::Null) if self.is_own => {
                    assert_eq!(new.get(name), Some(&Value::Null), "null clears `{name}`")
                }
                Some(Value::Object(_) | Value::Null) => {}
                // Lists may hold objects, which are completed.
                Some(Value::Array(sent)) => {
                    let kept = new.get(name).and_then(Value::as_array).map(Vec::len);
                    assert_eq!(kept, Some(sent.len()), "`{name}` is the list that was sent")
                }
                Some(sent) => assert_eq!(new.get(name), Some(sent), "`{name}` was sent"),
            }
        }
    }

    fn tells_every_difference(&self, old: &Map<String, Value>, new: &Map<String, Value>) {
        assert!(self.compiled.changes(new, new).is_empty());
        let changes = self.compiled.changes(old, new);
        let told: Vec<_> = changes.host.iter().chain(&changes.hot).chain(&changes.reload).collect();
        for name in old.keys().chain(new.keys()) {
            let count = told.iter().filter(|told| **told == name).count();
            assert!(count <= 1, "`{name}` is told {count} times");
            assert!(count == 0 || old.get(name) != new.get(name), "`{name}` did not change");
        }
    }

    fn properties(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.root["properties"].as_object().into_iter().flatten()
    }
}

/// Of an object some fields can be cold, each as it is.
fn is_part_of(cold: &Value, whole: Option<&Value>) -> bool {
    match (cold, whole) {
        (Value::Object(fields), Some(Value::Object(whole))) => {
            !fields.is_empty() && fields.iter().all(|(name, value)| whole.get(name) == Some(value))
                || fields == whole
        }
        _ => whole == Some(cold),
    }
}

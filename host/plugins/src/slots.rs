//! Choices that plugins contribute to the schemas of pipelines, whoever's they are.
//!
//! A property with `x-slot` takes the values that are contributed to the slot of that name, beside those of its own
//! `enum`; `x-slot-params` names the property beside it that holds the params of the chosen one. Where the pipeline opens what
//! is chosen, `x-slot-feature` names the feature by which it does, which goes without saying for image processors. A value of
//! the property's own `enum` is opened too where a plugin contributes it by its name, and missed by nobody where none does.
//! A boolean chooses the one value in its `x-slot-value` where it is true. What goes missing without the one that is chosen
//! stands in `x-slot-without`, for those who are told that it is switched off.

use jsonschema::PatternOptions;
use plugin_api::{ANY_VALUE, Alias, Choice, Contribution, Feature, IMAGE_PROCESSOR_SLOT, Manifest};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What is contributed, by slot, in the order in which it is shown.
#[derive(Default)]
pub(crate) struct Slots<'a> {
    choices: BTreeMap<&'a str, Vec<&'a Choice>>,
}

impl<'a> Slots<'a> {
    /// Of plugins that do not dispute each other's choices, in their order.
    pub(crate) fn of(manifests: impl Iterator<Item = &'a Manifest>) -> Self {
        let mut slots = Self::default();
        for Contribution { slot, items } in manifests.flat_map(|manifest| &manifest.contributes) {
            slots.choices.entry(slot).or_default().extend(items);
        }
        slots
    }

    /// Fills the slots of a schema.
    pub(crate) fn fill(&self, schema: &mut Value) {
        match schema {
            Value::Object(object) => {
                object.iter_mut().filter(|(key, _)| !is_data(key)).for_each(|(_, v)| self.fill(v));
                self.offer(object);
                self.describe_params(object);
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.fill(item)),
            _ => {}
        }
    }

    /// The property's own values, then the contributed ones. Where any is taken, the property stays as it is.
    fn offer(&self, property: &mut Map<String, Value>) {
        let Some(choices) = self.choices_for(property) else { return };
        let is_fixed = property.contains_key("x-slot-value");
        if is_fixed || choices.iter().any(|choice| choice.value == ANY_VALUE) {
            return;
        }
        let contributed = choices.iter().map(|choice| Value::from(choice.value.as_str()));
        let values = property.entry("enum").or_insert_with(|| json!([]));
        let Some(values) = values.as_array_mut() else { return };
        for value in contributed {
            if !values.contains(&value) {
                values.push(value);
            }
        }
    }

    /// For an object with a choice: what the params of each have to be.
    fn describe_params(&self, object: &mut Map<String, Value>) {
        let properties = object.get("properties").and_then(Value::as_object);
        let rules: Vec<Value> = properties
            .into_iter()
            .flatten()
            .filter_map(|(name, property)| {
                let property = property.as_object()?;
                let params = property.get("x-slot-params")?.as_str()?;
                Some(self.choices_for(property)?.iter().filter_map(move |choice| {
                    let schema = choice.params.as_ref()?;
                    Some(json!({
                        "if": { "properties": { name: { "const": choice.value } }, "required": [name] },
                        "then": { "properties": { params: schema } },
                    }))
                }))
            })
            .flatten()
            .collect();
        if rules.is_empty() {
            return;
        }
        if let Some(all) = object.entry("allOf").or_insert_with(|| json!([])).as_array_mut() {
            all.extend(rules);
        }
    }

    /// None for a property without a slot; an unheard-of slot has no choices.
    fn choices_for(&self, property: &Map<String, Value>) -> Option<&[&'a Choice]> {
        let slot = property.get("x-slot")?.as_str()?;
        Some(self.choices.get(slot).map_or(&[], Vec::as_slice))
    }
}

/// Whether a pipeline with this schema opens something that the plugin contributes.
pub(crate) fn opens(schema: &Value, manifest: &Manifest) -> bool {
    let is_of_plugin = |(feature, slot): (Feature, &str)| {
        manifest.has_feature(feature.id())
            && manifest.contributes.iter().any(|contribution| contribution.slot == slot)
    };
    match schema {
        Value::Object(object) => {
            opened(schema).is_some_and(is_of_plugin)
                || object.iter().any(|(key, value)| !is_data(key) && opens(value, manifest))
        }
        Value::Array(items) => items.iter().any(|item| opens(item, manifest)),
        _ => false,
    }
}

/// What params choose that pipelines open, by the schema that the params are for; references in it are not followed.
pub(crate) fn chosen<'v>(schema: &'v Value, params: &'v Map<String, Value>) -> Chosen<'v> {
    let mut chosen = Chosen::new();
    for (name, property) in properties(schema) {
        if let Some(value) = params.get(name) {
            collect(property, value, &mut chosen);
        }
    }
    for schema in alternatives(schema) {
        chosen.extend(self::chosen(schema, params));
    }
    chosen
}

/// The params that choose otherwise than before.
pub(crate) fn changed(schema: &Value, sides: [&Map<String, Value>; 2]) -> Vec<String> {
    let differs = |(name, property): &(&String, &Value)| {
        let [before, after] = sides.map(|params| {
            let mut chosen = Chosen::new();
            if let Some(value) = params.get(*name) {
                collect(property, value, &mut chosen);
            }
            chosen
        });
        before != after
    };
    properties(schema).filter(differs).map(|(name, _)| name.clone()).collect()
}

/// Values of slots, and what they are opened by.
pub(crate) type Chosen<'v> = BTreeSet<Choosing<'v>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Choosing<'v> {
    pub feature: Feature,
    pub slot: &'v str,
    pub value: &'v str,
    /// Whether it is in the property's own `enum`.
    pub is_own: bool,
    /// What goes missing without it, where the schema says so.
    pub without: Option<&'v str>,
}

/// The slot of a property whose values are opened, and by what.
fn opened(property: &Value) -> Option<(Feature, &str)> {
    let slot = property.get("x-slot")?.as_str()?;
    let feature = match property.get("x-slot-feature") {
        Some(id) => Feature::of_id(id.as_str()?)?,
        None if slot == IMAGE_PROCESSOR_SLOT => Feature::ImageProcessor,
        None => return None,
    };
    Feature::LENT.contains(&feature).then_some((feature, slot))
}

fn choosing<'v>(schema: &'v Value, value: &'v str, is_own: bool) -> Option<Choosing<'v>> {
    let (feature, slot) = opened(schema)?;
    let without = schema.get("x-slot-without").and_then(Value::as_str);
    Some(Choosing { feature, slot, value, is_own, without })
}

fn collect<'v>(schema: &'v Value, value: &'v Value, chosen: &mut Chosen<'v>) {
    match value {
        Value::String(text) => {
            let own = schema.get("enum").and_then(Value::as_array);
            let is_own = own.is_some_and(|own| own.contains(value));
            chosen.extend(choosing(schema, text, is_own));
        }
        Value::Bool(true) => {
            let fixed = schema.get("x-slot-value").and_then(Value::as_str);
            chosen.extend(fixed.and_then(|fixed| choosing(schema, fixed, false)));
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                items.iter().for_each(|item| collect(schema, item, chosen));
            }
        }
        Value::Object(fields) => return chosen.extend(self::chosen(schema, fields)),
        _ => {}
    }
    alternatives(schema).for_each(|schema| collect(schema, value, chosen));
}

/// Schemas for the same value.
fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|key| schema.get(key));
    lists.filter_map(Value::as_array).flatten()
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

/// Values in a schema that look like schemas and are none.
fn is_data(key: &str) -> bool {
    ["default", "const", "enum", "examples"].contains(&key)
}

/// A bad contribution or alias would make the schemas of others useless, so it is looked at before.
pub(crate) fn check(manifest: &Manifest) -> Result<(), String> {
    for Alias { pipeline, requires, .. } in &manifest.aliases {
        if let Err(reason) = check_schema(requires) {
            return Err(format!("what its alias `{pipeline}` requires {reason}"));
        }
    }
    for Contribution { slot, items } in &manifest.contributes {
        for Choice { value, params } in items {
            let Some(schema) = params else { continue };
            if let Err(reason) = check_schema(schema) {
                let of = format!("of its choice `{value}` in the slot `{slot}`");
                return Err(format!("what it says of the params {of} {reason}"));
            }
        }
    }
    Ok(())
}

/// For a schema that becomes a part of others.
fn check_schema(schema: &Value) -> Result<(), String> {
    if has_reference(schema) {
        return Err("must be a schema without references".to_owned());
    }
    let options = jsonschema::draft202012::options();
    let options = options.with_pattern_options(PatternOptions::regex()).offline();
    options.build(schema).map(drop).map_err(|error| format!("is no valid schema: {error}"))
}

/// Within another schema, references and names would mean something else.
fn has_reference(schema: &Value) -> bool {
    match schema {
        Value::Object(object) => object.iter().any(|(key, value)| {
            (key.starts_with('$') && key != "$comment") || has_reference(value)
        }),
        Value::Array(items) => items.iter().any(has_reference),
        _ => false,
    }
}

#[cfg(test)]
mod tests;

//! Names that plugins give to pipelines, whoever's they are, for streams that use what these plugins add.

use crate::slots;
use host_ports::{Claim, NameGiven, Withheld};
use plugin_api::{Alias, Manifest};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The claims that the aliases of plugins stand for, and those that stand for none, by the ids of their plugins.
pub(crate) fn expand<'a>(
    manifests: impl Iterator<Item = &'a Manifest>,
    claims: &[Claim],
) -> (Vec<Claim>, BTreeMap<String, Vec<Withheld>>) {
    let mut named = Vec::new();
    let mut withheld = BTreeMap::<String, Vec<Withheld>>::new();
    for manifest in manifests {
        for alias in &manifest.aliases {
            match expand_one(manifest, alias, claims) {
                Ok(claims) => named.extend(claims),
                Err(reason) => {
                    let pipeline = alias.pipeline.clone();
                    let of_plugin = withheld.entry(manifest.id.clone()).or_default();
                    of_plugin.push(Withheld { pipeline, reason });
                }
            }
        }
    }
    (named, withheld)
}

/// One claim for each of the pipeline's that opens something of this plugin, and for the same models.
fn expand_one(manifest: &Manifest, alias: &Alias, claims: &[Claim]) -> Result<Vec<Claim>, String> {
    let of = &alias.of;
    let mut of_pipeline = claims.iter().filter(|claim| claim.pipeline == *of).peekable();
    if of_pipeline.peek().is_none() {
        return Err(format!("no plugin offers the pipeline `{of}`"));
    }
    let that_open = of_pipeline.filter(|claim| slots::opens(&claim.params_schema, manifest));
    let named: Result<Vec<_>, _> = that_open.map(|claim| name(manifest, alias, claim)).collect();
    match named {
        Ok(named) if named.is_empty() => {
            Err(format!("the pipeline `{of}` opens nothing that this plugin contributes"))
        }
        named => named,
    }
}

fn name(manifest: &Manifest, alias: &Alias, claim: &Claim) -> Result<Claim, String> {
    let mut claim = claim.clone();
    let schema = &mut claim.params_schema;
    for (param, value) in &alias.defaults {
        set_default(schema, &[param], value)
            .map_err(|param| format!("the pipeline `{}` has no param `{param}`", alias.of))?;
    }
    if let Some(object) = schema.as_object_mut()
        && let Some(all) = object.entry("allOf").or_insert_with(|| json!([])).as_array_mut()
    {
        all.push(alias.requires.clone());
    }
    let given = NameGiven { plugin: manifest.id.clone(), of: alias.of.clone() };
    claim.pipeline.clone_from(&alias.pipeline);
    claim.description.clone_from(&alias.description);
    claim.name_given = Some(given);
    Ok(claim)
}

/// Sets what the schema of an object says the default of one of its properties is; where it has properties itself, of those
/// that are named. An error names what there is not.
fn set_default(schema: &mut Value, path: &[&str], value: &Value) -> Result<(), String> {
    let unknown = || path.join(".");
    let name = path.last().copied().unwrap_or_default();
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    let property = properties.and_then(|all| all.get_mut(name)).ok_or_else(unknown)?;
    let object = property.as_object_mut().ok_or_else(unknown)?;
    let (Some(fields), true) = (value.as_object(), object.contains_key("properties")) else {
        object.insert("default".into(), value.clone());
        return Ok(());
    };
    match object.get_mut("default").and_then(Value::as_object_mut) {
        Some(whole) => lay_over(whole, fields),
        None => drop(object.insert("default".into(), value.clone())),
    }
    fields.iter().try_for_each(|(field, value)| {
        set_default(property, &[path, &[field.as_str()]].concat(), value)
    })
}

fn lay_over(target: &mut Map<String, Value>, fields: &Map<String, Value>) {
    for (name, value) in fields {
        match (target.get_mut(name), value) {
            (Some(Value::Object(inner)), Value::Object(fields)) => lay_over(inner, fields),
            _ => drop(target.insert(name.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_ports::ClaimRef;

    fn plugin(alias: Value) -> Manifest {
        let manifest = json!({
            "id": "nets", "vendor": "x", "version": "1.0.0", "abi": "*", "features": ["residual-conditioner/0"],
            "license": "MIT", "description": "d", "aliases": [alias],
            "contributes": [{ "slot": "net", "items": [{ "value": "edges" }] }],
        });
        Manifest::parse(manifest.to_string().as_bytes()).unwrap()
    }

    fn alias(more: Value) -> Manifest {
        let mut alias = json!({
            "pipeline": "p-nets", "of": "p", "description": "With nets.",
            "requires": { "type": "object", "properties": { "nets": { "minItems": 1 } } },
        });
        alias.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        plugin(alias)
    }

    fn claim(pipeline: &str, index: usize, slot: &str) -> Claim {
        let net = json!({
            "type": "string", "x-slot": slot, "x-slot-feature": "residual-conditioner/0",
        });
        Claim {
            pipeline: pipeline.into(),
            name_given: None,
            id: ClaimRef { plugin: "base".into(), pipeline: pipeline.into(), index },
            models: Some(vec![format!("model-{index}")]),
            description: "d".into(),
            params_schema: json!({ "type": "object", "properties": {
                "nets": { "type": "array", "items": net, "default": [] },
                "frame": { "type": ["object", "null"], "default": null, "properties": { "width": { "default": 1 } } },
                "style": {
                    "type": "object", "default": { "is_on": false, "weight": 1 },
                    "properties": { "is_on": { "type": "boolean", "default": false }, "weight": { "default": 1 } },
                },
            } }),
        }
    }

    fn expanded(manifest: &Manifest, claims: &[Claim]) -> Result<Vec<Claim>, String> {
        let (named, withheld) = expand([manifest].into_iter(), claims);
        match withheld.get("nets").map(Vec::as_slice) {
            None => Ok(named),
            Some([Withheld { pipeline, reason }]) if pipeline == "p-nets" => Err(reason.clone()),
            Some(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_alias_stands_for_those_claims_that_open_what_its_plugin_contributes() {
        let claims = [claim("p", 0, "net"), claim("p", 1, "other"), claim("p", 2, "net")];
        let named = expanded(&alias(json!({})), &claims).unwrap();
        let [one, other] = &named[..] else { panic!("{named:?}") };
        assert_eq!((one.id.index, other.id.index), (0, 2));
        assert_eq!((one.pipeline.as_str(), one.id.pipeline.as_str()), ("p-nets", "p"));
        assert_eq!(one.description, "With nets.");
        assert_eq!(other.models, Some(vec!["model-2".to_owned()]));
        let all = &one.params_schema["allOf"];
        assert_eq!(all[0]["properties"]["nets"]["minItems"], 1);
    }

    #[test]
    fn defaults_reach_into_objects_and_leave_the_rest() {
        let defaults = json!({ "defaults": {
            "nets": ["edges"], "style": { "is_on": true }, "frame": { "width": 2 },
        } });
        let named = expanded(&alias(defaults), &[claim("p", 0, "net")]).unwrap();
        let properties = &named[0].params_schema["properties"];
        assert_eq!(properties["nets"]["default"], json!(["edges"]));
        assert_eq!(properties["style"]["default"], json!({ "is_on": true, "weight": 1 }));
        assert_eq!(properties["frame"]["default"], json!({ "width": 2 }), "where it was null");
        assert_eq!(properties["frame"]["properties"]["width"]["default"], 2);
        let fields = &properties["style"]["properties"];
        assert_eq!(
            (&fields["is_on"]["default"], &fields["weight"]["default"]),
            (&json!(true), &json!(1))
        );
    }

    #[test]
    fn an_alias_that_stands_for_nothing_says_why() {
        let refused = |alias: &Manifest, claims: &[Claim]| expanded(alias, claims).unwrap_err();
        let plain = alias(json!({}));
        assert_eq!(refused(&plain, &[claim("q", 0, "net")]), "no plugin offers the pipeline `p`");
        assert_eq!(
            refused(&plain, &[claim("p", 0, "other")]),
            "the pipeline `p` opens nothing that this plugin contributes"
        );
        let unknown = alias(json!({ "defaults": { "style": { "colour": 1 } } }));
        assert_eq!(
            refused(&unknown, &[claim("p", 0, "net")]),
            "the pipeline `p` has no param `style.colour`"
        );
    }
}

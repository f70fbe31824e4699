//! Files that rival each other, and what is decided.

use super::*;
use plugin_api::{Alias, Choice, Claim as ManifestClaim, Contribution};
use serde_json::json;
use std::path::PathBuf;

fn candidate(file: &str, manifest: Manifest) -> Candidate {
    let library = Library {
        path: PathBuf::from("/cache").join(file),
        hash: format!("hash of {file}"),
        manifest,
        manifest_hash: String::new(),
    };
    let outcome = Outcome::Good(Arc::new(library));
    Candidate {
        path: PathBuf::from("/plugins").join(file),
        hash: format!("hash of {file}"),
        outcome,
    }
}

fn manifest(id: &str, vendor: &str, version: &str, claims: &[(&str, Option<&[&str]>)]) -> Manifest {
    let claim = |(pipeline, models): &(&str, Option<&[&str]>)| ManifestClaim {
        pipeline: (*pipeline).into(),
        models: models.map(|models| models.iter().map(|model| (*model).into()).collect()),
        description: "d".into(),
        params: json!({ "type": "object", "properties": { "model_id": { "default": "turbo" } } }),
    };
    Manifest {
        id: id.into(),
        vendor: vendor.into(),
        version: version.parse().unwrap(),
        abi: ">=0.1, <0.2".parse().unwrap(),
        features: vec!["pipeline/0".into()],
        license: "MIT".into(),
        description: "d".into(),
        claims: claims.iter().map(claim).collect(),
        contributes: vec![],
        aliases: vec![],
    }
}

/// A plugin that only adds choices to the slot `filter`.
fn contributing(id: &str, vendor: &str, values: &[&str]) -> Manifest {
    let choice = |value: &&str| Choice { value: (*value).into(), params: None };
    let items = values.iter().map(choice).collect();
    Manifest {
        features: vec!["image-processor/0".into()],
        contributes: vec![Contribution { slot: "filter".into(), items }],
        ..manifest(id, vendor, "1.0.0", &[])
    }
}

/// One that claims `p` and lets plugins say what its `filter` may be.
fn with_a_slot() -> Manifest {
    let mut manifest = manifest("p", "us", "1.0.0", &[("p", None)]);
    manifest.claims[0].params["properties"]["filter"] =
        json!({ "type": "string", "x-slot": "filter" });
    manifest
}

fn filters(registry: &Registry) -> serde_json::Value {
    let claim = registry.resolve("p", None).unwrap();
    claim.params_schema["properties"]["filter"]["enum"].clone()
}

fn decide(manifests: Vec<Manifest>, pins: &[(&str, &str)]) -> Registry {
    let candidates: Vec<Candidate> = manifests
        .into_iter()
        .enumerate()
        .map(|(index, manifest)| candidate(&format!("{index}.so"), manifest))
        .collect();
    let pins = pins.iter().map(|(name, id)| ((*name).into(), (*id).into())).collect();
    Registry::new(&candidates, &Policy { pins: &pins, own_vendor: "us" })
}

/// Which of the files are accepted.
fn accepted(registry: &Registry) -> Vec<bool> {
    registry.reports.iter().map(|report| report.state == PluginState::Accepted).collect()
}

/// What a pipeline with its own value `plain` opens is asked for by its name alone, and missed only where it is not its own.
#[test]
fn a_pipeline_s_own_value_is_opened_where_a_plugin_has_it_and_never_missing() {
    let mut pipeline = with_a_slot();
    pipeline.claims[0].params["properties"]["filter"] = json!({
        "type": "string", "enum": ["plain"], "x-slot": "filter", "x-slot-feature": "image-processor/0",
    });
    let named = |values: &[&str], value: &str| {
        let registry = decide(vec![pipeline.clone(), contributing("c", "us", values)], &[]);
        let params = json!({ "filter": value }).as_object().unwrap().clone();
        let named = registry.named(&pipeline.claims[0], &params);
        (named.found.into_keys().collect::<Vec<_>>(), named.missing)
    };
    assert_eq!(named(&["plain"], "plain"), (vec!["plain".into()], vec![]));
    assert_eq!(named(&["other"], "plain"), (vec![], vec![]));
    assert_eq!(named(&["*"], "plain"), (vec![], vec![]));
    assert_eq!(named(&["*"], "red"), (vec!["red".into()], vec![]));
    assert_eq!(named(&["other"], "red"), (vec![], vec!["red".into()]));
}

#[test]
fn versions_are_compared_as_versions() {
    let of = |version| manifest("a", "x", version, &[("a", None)]);
    assert_eq!(
        accepted(&decide(vec![of("1.9.0"), of("1.10.0"), of("1.10.0-rc.1")], &[])),
        [false, true, false]
    );
    assert_eq!(
        accepted(&decide(vec![of("1.0.0"), of("1.0.0")], &[])),
        [true, false],
        "the first folder's"
    );
}

#[test]
fn a_name_of_two_vendors_goes_to_the_pin_then_to_us_then_to_nobody() {
    let of = |id, vendor| manifest(id, vendor, "1.0.0", &[("same", None)]);
    let third_parties = || vec![of("a", "x"), of("b", "y")];
    assert_eq!(accepted(&decide(third_parties(), &[])), [false, false]);
    assert_eq!(accepted(&decide(third_parties(), &[("same", "b")])), [false, true]);
    let with_ours = || vec![of("a", "x"), of("b", "us")];
    assert_eq!(accepted(&decide(with_ours(), &[])), [false, true]);
    assert_eq!(accepted(&decide(with_ours(), &[("same", "a")])), [true, false]);
    let refused = decide(third_parties(), &[]).reports.remove(0).state;
    let PluginState::Refused { reason } = refused else { panic!("accepted") };
    assert!(reason.contains("`same`, which y's plugin b has too"), "{reason}");
}

#[test]
fn one_vendors_plugins_share_a_name_by_model() {
    let small = manifest("small", "us", "1.0.0", &[("diffusion", Some(&["turbo", "base"]))]);
    let large = manifest("large", "us", "1.0.0", &[("diffusion", Some(&["xl"]))]);
    let registry = decide(vec![small.clone(), large], &[]);
    let plugin = |model| registry.resolve("diffusion", model).map(|claim| claim.id.plugin);
    assert_eq!(plugin(Some("xl")).as_deref(), Ok("large"));
    assert_eq!(plugin(Some("base")).as_deref(), Ok("small"));
    assert_eq!(plugin(None).as_deref(), Ok("small"), "the default of its schema is its own model");
    assert_eq!(
        plugin(Some("other")).unwrap_err().to_string(),
        "pipeline `diffusion` has no model `other`; on offer: xl, turbo, base"
    );
    let again = manifest("again", "us", "1.0.0", &[("diffusion", Some(&["base"]))]);
    assert_eq!(accepted(&decide(vec![small, again], &[])), [false, false]);
}

#[test]
fn a_claim_for_any_model_takes_what_no_other_names() {
    let any = manifest("any", "us", "1.0.0", &[("p", None), ("q", None)]);
    let registry = decide(vec![any], &[]);
    assert_eq!(registry.resolve("p", Some("whatever")).unwrap().id.index, 0);
    assert_eq!(registry.resolve("q", None).unwrap().id.index, 1);
    assert_eq!(
        registry.resolve("r", None).unwrap_err().to_string(),
        "no plugin offers the pipeline `r`; on offer: p, q"
    );
}

#[test]
fn a_model_is_asked_for_when_none_is_the_default() {
    let xl = manifest("xl", "us", "1.0.0", &[("diffusion", Some(&["xl"]))]);
    let error = decide(vec![xl], &[]).resolve("diffusion", None).unwrap_err();
    assert_eq!(error.to_string(), "pipeline `diffusion` needs `model_id`; on offer: xl");
}

#[test]
fn any_plugin_adds_choices_to_a_slot_in_the_order_of_their_ids() {
    let ours = || contributing("filters", "us", &["soft", "blur"]);
    let theirs = || contributing("more", "x", &["mosaic"]);
    let registry = decide(vec![theirs(), with_a_slot(), ours()], &[]);
    assert_eq!(filters(&registry), json!(["soft", "blur", "mosaic"]));
    assert_eq!(filters(&decide(vec![ours(), theirs(), with_a_slot()], &[])), filters(&registry));
    assert_eq!(filters(&decide(vec![with_a_slot(), theirs()], &[])), json!(["mosaic"]));
    assert_eq!(filters(&decide(vec![with_a_slot()], &[])), json!([]), "none is left");
    let report = &registry.reports[0];
    let added = &report.contributes[0];
    assert_eq!((added.slot.as_str(), &added.values[..]), ("filter", &["mosaic".to_owned()][..]));
}

#[test]
fn a_choice_of_two_plugins_goes_to_the_pin_then_to_us_then_to_nobody() {
    let of = |id, vendor| contributing(id, vendor, &[id, "blur"]);
    let third_parties = || vec![of("a", "x"), of("b", "x"), with_a_slot()];
    let registry = decide(third_parties(), &[]);
    assert_eq!(accepted(&registry), [false, false, true]);
    assert_eq!(filters(&registry), json!([]));
    let PluginState::Refused { reason } = &registry.reports[0].state else { panic!("accepted") };
    let expected = "it adds the choice `blur` to the slot `filter`, which x's plugin b has too";
    assert!(reason.starts_with(expected), "{reason}");
    let pinned = decide(third_parties(), &[("filter/blur", "b")]);
    assert_eq!(
        (accepted(&pinned), filters(&pinned)),
        (vec![false, true, true], json!(["b", "blur"]))
    );
    let with_ours = decide(vec![of("a", "x"), of("b", "us"), with_a_slot()], &[]);
    assert_eq!(accepted(&with_ours), [false, true, true]);
}

/// A plugin that adds `blur` to the slot `filter` and calls pipelines `p` that use it `name`.
fn naming(id: &str, vendor: &str, name: &str) -> Manifest {
    let alias = Alias {
        pipeline: name.into(),
        of: "p".into(),
        description: "d".into(),
        requires: json!({ "type": "object", "required": ["filter"] }),
        defaults: serde_json::Map::new(),
    };
    Manifest { aliases: vec![alias], ..contributing(id, vendor, &[id]) }
}

fn with_an_opened_slot() -> Manifest {
    let mut pipeline = with_a_slot();
    let word = json!("image-processor/0");
    pipeline.claims[0].params["properties"]["filter"]["x-slot-feature"] = word;
    pipeline
}

#[test]
fn a_name_that_a_plugin_gives_leads_to_the_pipeline_for_as_long_as_both_are_there() {
    let registry = decide(vec![naming("blur", "x", "p-blur"), with_an_opened_slot()], &[]);
    assert_eq!(accepted(&registry), [true, true]);
    assert_eq!(registry.reports[0].pipelines, ["p-blur"]);
    let claim = registry.resolve("p-blur", None).unwrap();
    assert_eq!((claim.pipeline.as_str(), claim.id.pipeline.as_str()), ("p-blur", "p"));
    assert_eq!(claim.id, registry.resolve("p", None).unwrap().id);
    let alone = decide(vec![naming("blur", "x", "p-blur")], &[]);
    assert_eq!(accepted(&alone), [true]);
    assert_eq!(alone.reports[0].pipelines, [""; 0]);
    let withheld = &alone.reports[0].withheld[0];
    assert_eq!(withheld.reason, "no plugin offers the pipeline `p`");
    assert!(alone.resolve("p-blur", None).is_err());
}

#[test]
fn a_given_name_of_two_plugins_goes_to_the_pin_then_to_us_then_to_nobody() {
    let two = |vendors: [&str; 2]| {
        let [one, other] = vendors;
        vec![naming("a", one, "same"), naming("b", other, "same"), with_an_opened_slot()]
    };
    assert_eq!(accepted(&decide(two(["x", "y"]), &[])), [false, false, true]);
    assert_eq!(accepted(&decide(two(["x", "x"]), &[])), [false, false, true]);
    assert_eq!(accepted(&decide(two(["x", "y"]), &[("same", "b")])), [false, true, true]);
    assert_eq!(accepted(&decide(two(["x", "us"]), &[])), [false, true, true]);
    let claimed = manifest("c", "y", "1.0.0", &[("same", None)]);
    let with_claim = || vec![naming("a", "x", "same"), claimed.clone(), with_an_opened_slot()];
    let registry = decide(with_claim(), &[]);
    assert_eq!(accepted(&registry), [false, false, true]);
    for (report, other) in registry.reports.iter().zip(["y's plugin c", "x's plugin a"]) {
        let PluginState::Refused { reason } = &report.state else { panic!("accepted") };
        assert!(reason.contains("`same`") && reason.contains(other), "{reason}");
    }
    assert_eq!(accepted(&decide(with_claim(), &[("same", "a")])), [true, false, true]);
}

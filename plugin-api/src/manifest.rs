//! The manifest: what a library says about itself without any of its code running.

use crate::fetched;
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// The slot to which image processors are contributed.
pub const IMAGE_PROCESSOR_SLOT: &str = "image-processor";
/// A contributed value that stands for any text, as where it names one of the hub's models.
pub const ANY_VALUE: &str = "*";
/// Name of the library's section that holds the manifest.
pub const MANIFEST_SECTION: &str = ".sdh_manifest";
/// The version of the ABI that this crate speaks. A manifest's `abi` is a range that has to contain it.
pub const ABI_VERSION: Version = Version::new(0, 1, 0);
/// Greatest size of a manifest in bytes.
const MAX_BYTES: usize = 1 << 20;
const MAX_CLAIMS: usize = 64;
const MAX_ALIASES: usize = 16;
const MAX_SLOTS: usize = 64;
const MAX_CHOICES: usize = 256;
const MAX_MODELS: usize = 1024;
const MAX_TEXT: usize = 1000;
const MAX_NAME: usize = 64;

/// What a library says about itself. Fields that this version does not know are ignored.
///
/// ```
/// let manifest = plugin_api::Manifest::parse(
///     br#"{
///         "id": "blur", "vendor": "example", "version": "1.2.0", "abi": ">=0.1, <0.2",
///         "features": ["pipeline/0"], "license": "MIT", "description": "Blurs.",
///         "claims": [{ "pipeline": "blur", "models": null, "description": "Blurs.", "params": { "type": "object" } }]
///     }"#,
/// )
/// .unwrap();
/// assert!(manifest.check_abi().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Names the plugin: 1 to 64 of `a-z`, `0-9` and `-`, starting with a letter or digit. Of two libraries with one id
    /// the higher version is used.
    pub id: String,
    /// Who makes it: 1 to 64 characters.
    pub vendor: String,
    /// The plugin's own version.
    pub version: Version,
    /// The ABI versions it works with, as in `>=0.1, <0.2`.
    pub abi: VersionReq,
    /// What it offers, as `name/major`: `pipeline/0`.
    pub features: Vec<String>,
    /// SPDX expression, as in `MIT OR Apache-2.0`.
    pub license: String,
    /// One sentence, at most 1000 bytes.
    pub description: String,
    /// The `pipeline` names it answers to, at most 64. There is a claim or a contribution.
    #[serde(default)]
    pub claims: Vec<Claim>,
    /// What it adds to the schemas of pipelines, its own or others', at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contributes: Vec<Contribution>,
    /// Names for pipelines that use what it contributes, at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<Alias>,
}

/// One `pipeline` name that a plugin answers to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// The stream's `pipeline`: 1 to 64 of `a-z`, `0-9`, `-`, `_` and `.`, starting with a letter or digit.
    pub pipeline: String,
    /// Values of the param `model_id` that it is for, 1 to 1024; none means any, or that there is no such param.
    #[serde(default)]
    pub models: Option<Vec<String>>,
    /// One sentence, at most 1000 bytes.
    pub description: String,
    /// JSON Schema 2020-12 of the params, for an object, with `x-apply` (`hot` or `reload`) at each property. A hot property
    /// of type `["string", "null"]` with `"x-fetch": "image"` names a picture that the host fetches: the pipeline gets the
    /// absolute path of a PNG, or null while there is none.
    pub params: Value,
}

/// A name for a pipeline, of whichever plugin, for streams that use what this plugin contributes: for all models with which the
/// pipeline opens that, with the same params under further rules. Where there is no such pipeline the name is not on offer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alias {
    /// The stream's `pipeline`, named as in a [`Claim`].
    pub pipeline: String,
    /// The pipeline that it stands for, by the name in its claims.
    pub of: String,
    /// One sentence, at most 1000 bytes.
    pub description: String,
    /// JSON Schema 2020-12, without references and words beginning with `x-`, of what params have to be beyond what the
    /// pipeline says of them: `{"type": "object", "properties": {"controlnets": {"minItems": 1}}}`.
    pub requires: Value,
    /// Params that are by default other than the pipeline says; in objects those that are named.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub defaults: Map<String, Value>,
}

/// Choices for the properties of pipelines' schemas that name the slot: `"x-slot": "image-processor"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// The slot: 1 to 64 of `a-z`, `0-9`, `-`, `_` and `.`, starting with a letter or digit.
    pub slot: String,
    /// What can be chosen, 1 to 256, in the order in which it is shown.
    pub items: Vec<Choice>,
}

/// One value of a property.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// The value, a text of 1 to 1000 bytes; [`ANY_VALUE`] for any.
    pub value: String,
    /// JSON Schema 2020-12, without references, of the object of params that belongs to this choice (the property that
    /// `x-slot-params` names); none for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Value>,
}

/// Why a manifest is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// More bytes than are looked at.
    #[error("the manifest has {size} bytes; the limit is {MAX_BYTES}")]
    TooLarge {
        /// Its size.
        size: usize,
    },
    /// Not the expected JSON.
    #[error("the manifest cannot be read: {reason}")]
    Json {
        /// What the parser says.
        reason: String,
    },
    /// A field's value is not acceptable.
    #[error("the manifest's `{field}` {problem}")]
    Field {
        /// JSON pointer without the first slash, as in `claims/0/pipeline`.
        field: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The range does not contain this ABI.
    #[error(
        "plugin {id} {version} works with plugin ABI {wanted}, this host speaks {ABI_VERSION}; rebuild it for {ABI_VERSION}"
    )]
    Abi {
        /// The plugin.
        id: String,
        /// Its version.
        version: Box<Version>,
        /// The range in its manifest.
        wanted: Box<VersionReq>,
    },
}

impl Manifest {
    /// Reads and checks a manifest. Zero bytes at the end, which a linker may add, are ignored.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_BYTES {
            return Err(ManifestError::TooLarge { size: bytes.len() });
        }
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let manifest: Self = serde_json::from_slice(&bytes[..end])
            .map_err(|error| ManifestError::Json { reason: error.to_string() })?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Whether this crate's ABI is within the plugin's range.
    pub fn check_abi(&self) -> Result<(), ManifestError> {
        if self.abi.matches(&ABI_VERSION) {
            return Ok(());
        }
        Err(ManifestError::Abi {
            id: self.id.clone(),
            version: self.version.clone().into(),
            wanted: self.abi.clone().into(),
        })
    }

    /// Whether the plugin offers a feature, as in `pipeline/0`.
    pub fn has_feature(&self, feature: &str) -> bool {
        self.features.iter().any(|offered| offered == feature)
    }

    fn check(&self) -> Result<(), ManifestError> {
        check_name("id", &self.id, "-")?;
        check_text("vendor", &self.vendor, MAX_NAME)?;
        check_text("license", &self.license, MAX_TEXT)?;
        check_text("description", &self.description, MAX_TEXT)?;
        for (index, feature) in self.features.iter().enumerate() {
            check_feature(&format!("features/{index}"), feature)?;
        }
        let least = usize::from(self.contributes.is_empty());
        if !(least..=MAX_CLAIMS).contains(&self.claims.len()) {
            return Err(field("claims", format!("must have {least} to {MAX_CLAIMS} items")));
        }
        if self.contributes.len() > MAX_SLOTS {
            return Err(field("contributes", format!("must have at most {MAX_SLOTS} items")));
        }
        self.check_claims()?;
        self.check_contributions()?;
        self.check_aliases()
    }

    fn check_aliases(&self) -> Result<(), ManifestError> {
        if self.aliases.len() > MAX_ALIASES {
            return Err(field("aliases", format!("must have at most {MAX_ALIASES} items")));
        }
        if !self.aliases.is_empty() && self.contributes.is_empty() {
            return Err(field("aliases", "needs something in `contributes`".into()));
        }
        let mut seen: HashSet<&str> = self.claims.iter().map(|claim| &*claim.pipeline).collect();
        for (index, alias) in self.aliases.iter().enumerate() {
            let path = format!("aliases/{index}");
            alias.check(&path)?;
            if !seen.insert(&alias.pipeline) {
                let problem = format!("names `{}` a second time", alias.pipeline);
                return Err(field(&path, problem));
            }
        }
        Ok(())
    }

    fn check_claims(&self) -> Result<(), ManifestError> {
        let mut seen = HashSet::new();
        for (index, claim) in self.claims.iter().enumerate() {
            claim.check(&format!("claims/{index}"))?;
            for model in claim.models_or_any() {
                if !seen.insert((claim.pipeline.as_str(), model)) {
                    let what = model.unwrap_or("any model");
                    return Err(field(
                        &format!("claims/{index}"),
                        format!("claims `{}` with {what} a second time", claim.pipeline),
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_contributions(&self) -> Result<(), ManifestError> {
        let mut seen = HashSet::new();
        for (index, Contribution { slot, items }) in self.contributes.iter().enumerate() {
            let path = format!("contributes/{index}");
            check_name(&format!("{path}/slot"), slot, "-_.")?;
            if !(1..=MAX_CHOICES).contains(&items.len()) {
                let problem = format!("must have 1 to {MAX_CHOICES} items");
                return Err(field(&format!("{path}/items"), problem));
            }
            for (index, Choice { value, params }) in items.iter().enumerate() {
                let path = format!("{path}/items/{index}");
                check_text(&format!("{path}/value"), value, MAX_TEXT)?;
                if let Some(params) = params {
                    let path = format!("{path}/params");
                    check_object_schema(&path, params)?;
                    fetched::check_choice(&path, params)?;
                }
                if !seen.insert((slot, value)) {
                    let problem = format!("adds `{value}` to `{slot}` a second time");
                    return Err(field(&path, problem));
                }
            }
        }
        Ok(())
    }
}

impl Claim {
    fn check(&self, path: &str) -> Result<(), ManifestError> {
        check_name(&format!("{path}/pipeline"), &self.pipeline, "-_.")?;
        check_text(&format!("{path}/description"), &self.description, MAX_TEXT)?;
        if let Some(models) = &self.models {
            if models.is_empty() || models.len() > MAX_MODELS {
                let problem = format!("must be null or have 1 to {MAX_MODELS} items");
                return Err(field(&format!("{path}/models"), problem));
            }
            for (index, model) in models.iter().enumerate() {
                check_text(&format!("{path}/models/{index}"), model, MAX_TEXT)?;
            }
        }
        let path = format!("{path}/params");
        check_object_schema(&path, &self.params)?;
        fetched::check_claim(&path, &self.params)
    }

    fn models_or_any(&self) -> Vec<Option<&str>> {
        match &self.models {
            Some(models) => models.iter().map(|model| Some(model.as_str())).collect(),
            None => vec![None],
        }
    }
}

impl Alias {
    fn check(&self, path: &str) -> Result<(), ManifestError> {
        check_name(&format!("{path}/pipeline"), &self.pipeline, "-_.")?;
        check_name(&format!("{path}/of"), &self.of, "-_.")?;
        check_text(&format!("{path}/description"), &self.description, MAX_TEXT)?;
        let path = format!("{path}/requires");
        check_object_schema(&path, &self.requires)?;
        match own_word(&self.requires) {
            Some(word) => {
                Err(field(&path, format!("must only say what is valid, and has `{word}`")))
            }
            None => Ok(()),
        }
    }
}

/// A word of ours in a schema.
fn own_word(schema: &Value) -> Option<&str> {
    match schema {
        Value::Object(object) => object.iter().find_map(|(key, value)| {
            if key.starts_with("x-") { Some(key.as_str()) } else { own_word(value) }
        }),
        Value::Array(items) => items.iter().find_map(own_word),
        _ => None,
    }
}

pub(crate) fn field(field: &str, problem: String) -> ManifestError {
    ManifestError::Field { field: field.into(), problem }
}

fn check_name(path: &str, name: &str, also: &str) -> Result<(), ManifestError> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_good = name.len() <= MAX_NAME
        && name.starts_with(is_plain)
        && name.chars().all(|c| is_plain(c) || also.contains(c));
    if is_good {
        return Ok(());
    }
    let also = also.chars().map(|c| format!("`{c}`")).collect::<Vec<_>>().join(", ");
    let problem = format!(
        "must be 1 to {MAX_NAME} of `a-z`, `0-9`, {also}, starting with a letter or digit, got {name:?}"
    );
    Err(field(path, problem))
}

fn check_text(path: &str, text: &str, limit: usize) -> Result<(), ManifestError> {
    if !text.is_empty() && text.len() <= limit && !text.contains(char::is_control) {
        return Ok(());
    }
    Err(field(path, format!("must be 1 to {limit} bytes of text without control characters")))
}

fn check_object_schema(path: &str, schema: &Value) -> Result<(), ManifestError> {
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => Ok(()),
        _ => Err(field(path, "must be a JSON Schema with \"type\": \"object\"".into())),
    }
}

fn check_feature(path: &str, feature: &str) -> Result<(), ManifestError> {
    let is_good = feature.split_once('/').is_some_and(|(name, major)| {
        check_name(path, name, "-").is_ok() && major.parse::<u32>().is_ok()
    });
    if is_good {
        return Ok(());
    }
    Err(field(path, format!("must be `name/major` as in `pipeline/0`, got {feature:?}")))
}

//! The strengths that diffusers writes beside the tensors rather than among them: PEFT's settings, as JSON in the file's
//! metadata. Kohya's files have an alpha tensor for every module instead.

use serde_json::{Map, Value};

use super::names::{Module, Part, underscored};

/// The key of the file's metadata.
pub(super) const KEY: &str = "lora_adapter_metadata";

/// PEFT's settings of all parts, `unet.lora_alpha` and the like.
#[derive(Debug, Default)]
pub(super) struct Settings(Map<String, Value>);

impl Settings {
    /// What cannot be read says nothing.
    pub fn parse(text: Option<&str>) -> Self {
        Self(text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default())
    }

    /// The name of a setting that makes the matrices mean something else than a LoRA's.
    pub fn other_kind(&self) -> Option<(String, &'static str)> {
        let is_on = |key: &str| self.0.get(key).is_some_and(|value| *value == Value::Bool(true));
        let kinds = [("use_dora", "DoRA"), ("use_rslora", "rank-stabilised LoRA")];
        let parts = [Part::Unet, Part::TextEncoder, Part::TextEncoder2].into_iter();
        parts
            .flat_map(|part| kinds.map(|(key, kind)| (format!("{}{key}", prefix(part)), kind)))
            .find(|(key, _)| is_on(key))
    }

    /// The alpha of a module without a tensor for it, if it is known.
    pub fn alpha(&self, (part, module): &Module) -> Option<f32> {
        let setting = |key: &str| self.0.get(&format!("{}{key}", prefix(*part)));
        let is_for = |key: &str| {
            let rest = module.strip_suffix(&underscored(key));
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
        };
        let patterns = setting("alpha_pattern").and_then(Value::as_object);
        let own = patterns.and_then(|patterns| patterns.iter().find(|(key, _)| is_for(key)));
        let alpha = own.map(|(_, alpha)| alpha).or_else(|| setting("lora_alpha"))?;
        alpha.as_f64().map(|alpha| alpha as f32)
    }
}

fn prefix(part: Part) -> &'static str {
    part.prefixes()[1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_has_the_alpha_of_its_pattern_or_of_its_network() {
        let settings = Settings::parse(Some(
            r#"{"unet.r": 4, "unet.lora_alpha": 8, "unet.alpha_pattern": {"attn1.to_q": 2.5}, "text_encoder.lora_alpha": "x"}"#,
        ));
        let alpha = |part, module: &str| settings.alpha(&(part, module.into()));
        assert_eq!(alpha(Part::Unet, "a_attn1_to_q"), Some(2.5));
        assert_eq!(alpha(Part::Unet, "attn1_to_q"), Some(2.5));
        assert_eq!(alpha(Part::Unet, "battn1_to_q"), Some(8.0));
        assert_eq!(alpha(Part::TextEncoder, "a_attn1_to_q"), None);
        assert_eq!(settings.other_kind(), None);
        for text in [None, Some(""), Some("[]"), Some("{\"unet.lora_alpha\": null}")] {
            assert_eq!(Settings::parse(text).alpha(&(Part::Unet, "a".into())), None, "{text:?}");
        }
        let other = Settings::parse(Some(r#"{"unet.use_rslora": true, "unet.use_dora": false}"#));
        assert_eq!(other.other_kind(), Some(("unet.use_rslora".into(), "rank-stabilised LoRA")));
    }
}

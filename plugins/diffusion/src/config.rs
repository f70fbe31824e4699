//! A component's `config.json`, read key by key.
//!
//! Architectures are described by these files; a value this crate has no network for is an error that names the file,
//! the key and what is supported, never a guess.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Config files are a few kilobytes; more is not a config.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Why a config file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is not a JSON object", path.display())]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("{}: `{key}` is {found}; supported: {supported}", path.display())]
    Unsupported { path: PathBuf, key: String, found: String, supported: String },
}

/// A parsed config file that remembers where it came from.
#[derive(Clone, Debug)]
pub struct Config {
    path: PathBuf,
    values: serde_json::Map<String, Value>,
}

impl Config {
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = read_bounded(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let values = serde_json::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), values })
    }

    /// What a file of weights shows of an architecture; `path` says which one.
    pub fn inferred(path: PathBuf, values: Value) -> Self {
        let values = match values {
            Value::Object(values) => values,
            _ => serde_json::Map::new(),
        };
        Self { path, values }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The value, where `null` counts as absent.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    pub fn unsupported(&self, key: &str, supported: impl Into<String>) -> ConfigError {
        let found = self.get(key).map_or("missing".into(), Value::to_string);
        ConfigError::Unsupported {
            path: self.path.clone(),
            key: key.into(),
            found,
            supported: supported.into(),
        }
    }

    /// Fails unless the key is absent or has this value.
    pub fn require(&self, key: &str, only: impl Into<Value>) -> Result<(), ConfigError> {
        let only = only.into();
        match self.get(key) {
            Some(value) if !same(value, &only) => Err(self.unsupported(key, only.to_string())),
            _ => Ok(()),
        }
    }

    /// Fails unless the key is absent or null.
    pub fn require_absent(&self, key: &str) -> Result<(), ConfigError> {
        self.get(key).map_or(Ok(()), |_| Err(self.unsupported(key, "null")))
    }

    /// A whole number of at least one and within reason for a network.
    pub fn size(&self, key: &str) -> Result<usize, ConfigError> {
        self.get(key).and_then(as_size).ok_or_else(|| self.unsupported(key, SIZE))
    }

    pub fn size_or(&self, key: &str, default: usize) -> Result<usize, ConfigError> {
        if self.get(key).is_some() { self.size(key) } else { Ok(default) }
    }

    /// A list of sizes.
    pub fn sizes(&self, key: &str) -> Result<Vec<usize>, ConfigError> {
        let list = self.get(key).and_then(Value::as_array);
        let sizes = list.and_then(|list| list.iter().map(as_size).collect::<Option<Vec<_>>>());
        sizes
            .filter(|sizes| (1..=8).contains(&sizes.len()))
            .ok_or_else(|| self.unsupported(key, "a list of 1 to 8 whole numbers from 1 to 65536"))
    }

    /// One size for all levels, or a list with one for each.
    pub fn sizes_per_level(&self, key: &str, levels: usize) -> Result<Vec<usize>, ConfigError> {
        match self.get(key) {
            Some(Value::Array(_)) => {
                let sizes = self.sizes(key)?;
                let fits = sizes.len() == levels;
                fits.then_some(sizes)
                    .ok_or_else(|| self.unsupported(key, format!("{levels} numbers, one a level")))
            }
            _ => Ok(vec![self.size(key)?; levels]),
        }
    }

    pub fn texts(&self, key: &str) -> Result<Vec<String>, ConfigError> {
        let list = self.get(key).and_then(Value::as_array);
        let texts =
            list.and_then(|list| list.iter().map(|item| item.as_str().map(String::from)).collect());
        texts.ok_or_else(|| self.unsupported(key, "a list of texts"))
    }

    pub fn bool_or(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.unsupported(key, "true, false"))
    }

    pub fn number_or(&self, key: &str, default: f64) -> Result<f64, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_f64().ok_or_else(|| self.unsupported(key, "a number"))
    }

    /// The entry of `choices` that the key names, or `default` when it is absent.
    pub fn choice<T: Copy>(
        &self,
        key: &str,
        default: T,
        choices: &[(&str, T)],
    ) -> Result<T, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let found = choices.iter().find(|(name, _)| value.as_str() == Some(name));
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            self.unsupported(
                key,
                choices.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
            )
        })
    }
}

const SIZE: &str = "a whole number from 1 to 65536";

fn as_size(value: &Value) -> Option<usize> {
    value.as_u64().filter(|size| (1..=65536).contains(size)).map(|size| size as usize)
}

/// Equality that takes 1 and 1.0 for the same number.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// Reads a text file of at most a megabyte.
pub(crate) fn read_bounded(path: &Path) -> std::io::Result<String> {
    read_text(path, MAX_CONFIG_BYTES)
}

/// Reads a text file of at most `limit` bytes.
pub(crate) fn read_text(path: &Path, limit: u64) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(limit + 1).read_to_string(&mut text)?;
    if read as u64 > limit {
        return Err(std::io::Error::other(format!("it is larger than {limit} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(values: Value) -> Config {
        let Value::Object(values) = values else { panic!("an object was meant") };
        Config { path: "unet/config.json".into(), values }
    }

    #[test]
    fn an_unknown_value_names_file_key_and_what_is_supported() {
        let config = config(json!({"act_fn": "mish", "heads": 0, "groups": [1, 2]}));
        let error = config.choice("act_fn", 1, &[("silu", 1), ("relu", 2)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"unet/config.json: `act_fn` is "mish"; supported: silu, relu"#
        );
        assert!(config.size("heads").unwrap_err().to_string().contains("`heads` is 0"));
        assert!(config.size("absent").unwrap_err().to_string().contains("missing"));
        assert!(config.sizes_per_level("groups", 3).is_err());
        assert_eq!(config.sizes_per_level("groups", 2).unwrap(), [1, 2]);
    }

    #[test]
    fn null_counts_as_absent() {
        let config = config(json!({"class_embed_type": null, "scale": 1.0}));
        assert!(config.require_absent("class_embed_type").is_ok());
        assert!(config.require("scale", 1).is_ok());
        assert!(config.require("scale", 2).is_err());
    }
}

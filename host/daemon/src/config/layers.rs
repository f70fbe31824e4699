//! Lays the file and the variables over the defaults. The defaults say which keys there are and of what kind each is.

use super::raw::RawConfig;
use std::collections::BTreeMap;
use toml::{Table, Value};

const PREFIX: &str = "SDH_";

/// The settings as written somewhere, or every key that cannot be one.
pub fn merge(
    file: Table,
    environment: &BTreeMap<String, String>,
) -> Result<RawConfig, Vec<String>> {
    let mut problems = Vec::new();
    let mut settings = Table::try_from(RawConfig::default()).expect("plain values make a table");
    for (section, keys) in file {
        let Value::Table(keys) = keys else {
            problems.push(format!("`{section}`: keys belong into a section such as `[http]`"));
            continue;
        };
        for (key, value) in keys {
            set(&mut settings, &section, &key, &mut problems, |_| Ok(value));
        }
    }
    for (name, text) in environment.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        let key = name[PREFIX.len()..].to_lowercase();
        match key.split_once("__") {
            Some((section, key)) => {
                set(&mut settings, section, key, &mut problems, |default| read(text, default));
            }
            None => problems.push(format!("{name}: is no setting; the form is SDH_SECTION__KEY")),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    settings.try_into().map_err(|error: toml::de::Error| vec![error.message().to_owned()])
}

/// Replaces one value by another of its kind.
fn set(
    settings: &mut Table,
    section: &str,
    key: &str,
    problems: &mut Vec<String>,
    value: impl FnOnce(&Value) -> Result<Value, String>,
) {
    let Some(keys) = settings.get_mut(section).and_then(Value::as_table_mut) else {
        problems.push(format!("`{section}.{key}`: there is no section `[{section}]`"));
        return;
    };
    let Some(current) = keys.get_mut(key) else {
        let known: Vec<_> = keys.keys().map(String::as_str).collect();
        let known = known.join(", ");
        problems.push(format!("`{section}.{key}`: is no setting; `[{section}]` has {known}"));
        return;
    };
    match value(current) {
        Ok(value) if value.same_type(current) => *current = value,
        Ok(value) => problems.push(format!(
            "`{section}.{key}`: must be {}, not {}",
            kind(current),
            kind(&value)
        )),
        Err(problem) => problems.push(format!("`{section}.{key}`: {problem}")),
    }
}

/// A variable's text as a value of the default's kind. Text needs no quotes; a list is TOML, or commas between its items.
fn read(text: &str, default: &Value) -> Result<Value, String> {
    match default {
        Value::String(_) => Ok(Value::String(text.to_owned())),
        Value::Array(_) if !text.trim_start().starts_with('[') => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Value::Array(items.map(item).collect()))
        }
        _ => {
            let value = toml::from_str::<Table>(&format!("value = {text}")).ok();
            let value = value.and_then(|mut table| table.remove("value"));
            value.ok_or_else(|| format!("must be {}, not `{text}`", kind(default)))
        }
    }
}

fn item(text: &str) -> Value {
    text.parse().map_or_else(|_| Value::String(text.to_owned()), Value::Integer)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
    }
}

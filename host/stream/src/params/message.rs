//! Turns what the validator found into a sentence that says what would be right.

use super::ParamError;
use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde_json::Value;

/// Values longer than this are cut in messages.
const LONGEST_EXCERPT: usize = 60;

/// What is wrong, where, and what would be right.
pub fn explain(error: &ValidationError<'_>, root: &Value) -> ParamError {
    let inner = nearest(error);
    ParamError { pointer: path(inner).to_owned(), message: message(inner, root) }
}

/// A text that is no longer than an excerpt.
pub fn brief(text: &str) -> String {
    if text.chars().count() <= LONGEST_EXCERPT {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(LONGEST_EXCERPT).collect();
    cut.push('…');
    cut
}

fn message(error: &ValidationError<'_>, root: &Value) -> String {
    let value = error.instance();
    let got = || format!("got {}", brief(&value.to_string()));
    match error.kind() {
        Kind::Type { kind } => format!("must be {}, {}", type_names(kind), got()),
        Kind::Enum { options } => format!("must be one of {}, {}", list(options), got()),
        Kind::Constant { expected_value } => format!("must be {expected_value}, {}", got()),
        Kind::Minimum { limit } => format!("must be at least {limit}, {}", got()),
        Kind::Maximum { limit } => format!("must be at most {limit}, {}", got()),
        Kind::ExclusiveMinimum { limit } => format!("must be more than {limit}, {}", got()),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}, {}", got()),
        Kind::MultipleOf { multiple_of } => {
            format!("must be a multiple of {multiple_of}, {}", got())
        }
        Kind::MinItems { limit } => format!("must have {limit} or more items, {}", count(value)),
        Kind::MaxItems { limit } => format!("must have {limit} or fewer items, {}", count(value)),
        Kind::MinLength { limit } => {
            format!("must have {limit} or more characters, {}", count(value))
        }
        Kind::MaxLength { limit } => {
            format!("must have {limit} or fewer characters, {}", count(value))
        }
        Kind::MinProperties { limit } => {
            format!("must have {limit} or more entries, {}", count(value))
        }
        Kind::MaxProperties { limit } => {
            format!("must have {limit} or fewer entries, {}", count(value))
        }
        Kind::UniqueItems => "must not hold the same item twice".to_owned(),
        Kind::Pattern { pattern } => format!("must match the pattern {pattern}, {}", got()),
        Kind::Format { format } => format!("must be a valid {format}, {}", got()),
        Kind::Required { property } => {
            format!(
                "lacks {}",
                property.as_str().map_or_else(String::new, |name| format!("`{name}`"))
            )
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            unexpected_keys(unexpected, error, root)
        }
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => {
            format!("must be {}, {}", alternatives(error, root), got())
        }
        // The rest are rare; the validator's own words, without the value, which may be long.
        _ => brief_line(&error.masked().to_string()),
    }
}

/// Of the branches of an `anyOf`, the mistake in the only one that the value's type fits: that one was meant.
fn nearest<'e>(error: &'e ValidationError<'_>) -> &'e ValidationError<'e> {
    let (Kind::AnyOf { context } | Kind::OneOfNotValid { context }) = error.kind() else {
        return error;
    };
    let is_mistyped = |inner: &ValidationError<'_>| {
        path(inner) == path(error) && matches!(inner.kind(), Kind::Type { .. })
    };
    let mut meant = context.iter().filter(|branch| !branch.iter().any(is_mistyped));
    match (meant.next().and_then(|branch| branch.first()), meant.next()) {
        (Some(inner), None) => nearest(inner),
        _ => error,
    }
}

fn path<'e>(error: &'e ValidationError<'_>) -> &'e str {
    error.instance_path().as_str()
}

fn type_names(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(name) => type_name(name.as_str()).to_owned(),
        TypeKind::Multiple(names) => {
            let names: Vec<_> = names.iter().map(|name| type_name(name.as_str())).collect();
            names.join(" or ")
        }
    }
}

fn type_name(name: &str) -> &str {
    match name {
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "an object",
        other => other,
    }
}

fn alternatives(error: &ValidationError<'_>, root: &Value) -> String {
    let branches = root.pointer(error.schema_path().as_str()).and_then(Value::as_array);
    let named = branches.into_iter().flatten().filter_map(|branch| {
        let name = branch.get("title").or_else(|| branch.get("type"))?;
        Some(type_name(name.as_str()?).to_owned())
    });
    let mut named: Vec<_> = named.collect();
    named.dedup();
    match named.is_empty() {
        true => "one of the forms that the schema allows".to_owned(),
        false => named.join(" or "),
    }
}

fn unexpected_keys(unexpected: &[String], error: &ValidationError<'_>, root: &Value) -> String {
    let names: Vec<_> =
        unexpected.iter().take(8).map(|name| format!("`{}`", brief(name))).collect();
    let schema = error.schema_path().as_str().rsplit_once('/').and_then(|(at, _)| root.pointer(at));
    let known = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
    let known: Vec<_> =
        known.into_iter().flat_map(|known| known.keys().map(String::as_str)).collect();
    match known.is_empty() {
        true => format!("has no {}", names.join(", ")),
        false => format!("has no {}; it has {}", names.join(", "), known.join(", ")),
    }
}

fn list(options: &Value) -> String {
    let texts = options.as_array().into_iter().flatten().map(|option| match option {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    texts.collect::<Vec<_>>().join(", ")
}

fn count(value: &Value) -> String {
    let count = match value {
        Value::Array(items) => items.len(),
        Value::Object(entries) => entries.len(),
        Value::String(text) => text.chars().count(),
        _ => 1,
    };
    format!("got {count}")
}

fn brief_line(text: &str) -> String {
    text.chars().take(4 * LONGEST_EXCERPT).collect()
}

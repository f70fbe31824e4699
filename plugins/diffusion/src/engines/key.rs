//! All that an engine depends on.

use std::collections::BTreeMap;

use super::Digester;

/// Of the digest, in hexadecimal: enough that no two are ever equal.
const ID_LENGTH: usize = 32;

/// Engines with equal fields are equal.
#[derive(Clone, Debug)]
pub struct Key {
    subject: String,
    fields: BTreeMap<String, String>,
    id: String,
}

impl Key {
    /// `subject` tells people what the engine is of, and is no part of what it depends on.
    pub fn new<const N: usize>(subject: String, fields: [(&str, String); N]) -> Self {
        let fields: BTreeMap<_, _> =
            fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let mut digest = Digester::default();
        for text in fields.iter().flat_map(|(name, value)| [name, value]) {
            // With its length, a text cannot run into the next one.
            digest.add(&(text.len() as u64).to_le_bytes());
            digest.add(text.as_bytes());
        }
        let mut id = digest.finish();
        id.truncate(ID_LENGTH);
        Self { subject, fields, id }
    }

    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The engine's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn fields(&self) -> &BTreeMap<String, String> {
        &self.fields
    }
}

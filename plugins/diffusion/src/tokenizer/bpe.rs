//! Byte pair encoding of single words.

use std::collections::HashMap;

/// Marks the end of a word inside the vocabulary.
const WORD_END: &str = "</w>";

/// A vocabulary and its merges.
pub struct Bpe {
    ids: HashMap<String, u32>,
    /// Pairs in the order of merging: the lower rank goes first.
    ranks: HashMap<(String, String), usize>,
    /// Printable stand-ins for the 256 byte values.
    letters: Vec<char>,
}

impl Bpe {
    pub fn parse(vocabulary: &str, merges: &str) -> Result<Self, String> {
        let ids: HashMap<String, u32> = serde_json::from_str(vocabulary)
            .map_err(|error| format!("it is not a map of tokens to ids: {error}"))?;
        let pairs = merges
            .lines()
            .filter(|line| !line.starts_with("#version"))
            .filter_map(|line| line.split_once(' '));
        let ranks =
            pairs.enumerate().map(|(rank, (a, b))| ((a.to_owned(), b.to_owned()), rank)).collect();
        Ok(Self { ids, ranks, letters: letters() })
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    /// Appends the ids of a word; parts the vocabulary lacks become `unknown`.
    pub fn encode(&self, word: &str, unknown: u32, ids: &mut Vec<u32>) {
        if let Some(id) = self.id(word).filter(|_| word.starts_with("<|")) {
            ids.push(id);
            return;
        }
        let mut parts: Vec<String> =
            word.bytes().map(|byte| self.letters[usize::from(byte)].to_string()).collect();
        if let Some(last) = parts.last_mut() {
            last.push_str(WORD_END);
        }
        while let Some((a, b)) = self.best_pair(&parts) {
            parts = merge(parts, &a, &b);
        }
        ids.extend(parts.iter().map(|part| self.id(part).unwrap_or(unknown)));
    }

    fn best_pair(&self, parts: &[String]) -> Option<(String, String)> {
        let pairs = parts.windows(2).map(|pair| (pair[0].clone(), pair[1].clone()));
        let ranked = pairs.filter_map(|pair| self.ranks.get(&pair).map(|&rank| (rank, pair)));
        ranked.min().map(|(_, pair)| pair)
    }
}

/// Joins every occurrence of the pair, from left to right.
fn merge(parts: Vec<String>, a: &str, b: &str) -> Vec<String> {
    let mut merged: Vec<String> = Vec::with_capacity(parts.len());
    let mut parts = parts.into_iter().peekable();
    while let Some(mut part) = parts.next() {
        if part == a && parts.peek().is_some_and(|next| next == b) {
            part.push_str(b);
            parts.next();
        }
        merged.push(part);
    }
    merged
}

/// Printable Latin-1 bytes stand for themselves, the others for letters from U+0100 on.
fn letters() -> Vec<char> {
    let mut spare = 0x100..;
    let letter = |byte: u8| match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        _ => spare.next().and_then(char::from_u32).expect("there are fewer than 256 stand-ins"),
    };
    (0..=u8::MAX).map(letter).collect()
}

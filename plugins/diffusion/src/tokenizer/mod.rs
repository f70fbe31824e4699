//! CLIP's tokenizer: text to the token ids of a checkpoint's vocabulary.
//!
//! Equal to the slow `CLIPTokenizer` of transformers with ftfy installed: special tokens are cut out first, the rest is
//! cleaned (`clean`), lower-cased, split into words and merged by byte pairs (`bpe`).

mod bpe;
mod clean;

use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::Value;

use crate::config::{read_bounded, read_text};
use bpe::Bpe;

/// Vocabularies and merge lists are about a megabyte.
const MAX_VOCABULARY_BYTES: u64 = 16 << 20;

/// Longer texts are cut: no token of a real vocabulary is so long that what follows could count.
const MAX_TEXT_CHARS: usize = 16 << 10;

const BEGIN: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
/// The first token of the vocabulary.
const NOTHING: &str = "!";

/// CLIP's merges, from which its vocabulary follows. As shipped by open_clip_torch 2.32.0: MIT, copyright OpenAI and the
/// OpenCLIP authors.
const MERGES: &str = include_str!("clip_merges.txt");

/// What texts are padded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pad {
    /// The end token, as OpenAI's CLIP has it.
    End,
    /// `!`, which has the id 0, as OpenCLIP has it.
    Nothing,
}

/// Why a tokenizer could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {why}", path.display())]
    Format { path: PathBuf, why: String },
}

/// A loaded vocabulary.
pub struct Tokenizer {
    bpe: Bpe,
    words: Regex,
    /// Longest first, so that the longest match wins where two begin at one place.
    special: Vec<(String, u32)>,
    begin: u32,
    end: u32,
    pad: u32,
}

impl Tokenizer {
    /// Reads `vocab.json`, `merges.txt` and what names the special tokens from a `tokenizer` folder.
    pub fn load(folder: &Path) -> Result<Self, TokenizerError> {
        let read = |name: &str| {
            let path = folder.join(name);
            read_text(&path, MAX_VOCABULARY_BYTES)
                .map_err(|source| TokenizerError::Read { path, source })
        };
        let format_error =
            |name: &str, why: String| TokenizerError::Format { path: folder.join(name), why };
        let bpe = Bpe::parse(&read("vocab.json")?, &read("merges.txt")?)
            .map_err(|why| format_error("vocab.json", why))?;
        Self::of(bpe, pad_token(folder)?)
            .map_err(|token| format_error("vocab.json", format!("it has no token `{token}`")))
    }

    /// CLIP's own vocabulary, which models of Stable Diffusion use; texts are padded with `pad`, a token of it.
    pub fn clip(pad: Pad) -> Self {
        let pad = match pad {
            Pad::End => END,
            Pad::Nothing => NOTHING,
        };
        Self::of(Bpe::of_merges(MERGES, &[BEGIN, END]), pad.to_owned())
            .expect("the vocabulary is a constant that the tests compare with the published one")
    }

    /// With special tokens that the vocabulary must have; the error is one that it lacks.
    fn of(bpe: Bpe, pad: String) -> Result<Self, String> {
        let id = |token: &str| bpe.id(token).ok_or_else(|| token.to_owned());
        let (begin, end) = (id(BEGIN)?, id(END)?);
        let pad_id = id(&pad)?;
        let mut special = vec![(BEGIN.to_owned(), begin), (END.to_owned(), end)];
        if special.iter().all(|(token, _)| *token != pad) && !pad.is_empty() {
            special.push((pad, pad_id));
        }
        special.sort_by_key(|(token, _)| std::cmp::Reverse(token.len()));
        let words = r"(?i)<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+";
        let words = Regex::new(words).expect("the pattern is a constant that the tests compile");
        Ok(Self { bpe, words, special, begin, end, pad: pad_id })
    }

    /// Number of tokens in the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.bpe.len()
    }

    /// The ids of a text between begin and end tokens, cut or padded to `length`, which must be at least 2.
    pub fn encode(&self, text: &str, length: usize) -> Vec<u32> {
        let mut ids = vec![self.begin];
        let end = text.char_indices().nth(MAX_TEXT_CHARS).map_or(text.len(), |(end, _)| end);
        let mut rest = &text[..end];
        while ids.len() < length {
            let Some((before, id, after)) = self.next_special(rest) else {
                self.encode_plain(rest, &mut ids, length);
                break;
            };
            self.encode_plain(before, &mut ids, length);
            ids.push(id);
            rest = after;
        }
        ids.truncate(length - 1);
        ids.push(self.end);
        ids.resize(length, self.pad);
        ids
    }

    /// The first special token in the text and what lies around it.
    fn next_special<'t>(&self, text: &'t str) -> Option<(&'t str, u32, &'t str)> {
        let found = self
            .special
            .iter()
            .filter_map(|(token, id)| Some((text.find(token.as_str())?, token.len(), *id)));
        let (at, length, id) =
            found.min_by_key(|&(at, length, _)| (at, std::cmp::Reverse(length)))?;
        Some((&text[..at], id, &text[at + length..]))
    }

    /// Appends the ids of a text without special tokens; words after the first `length` ids no longer count.
    fn encode_plain(&self, text: &str, ids: &mut Vec<u32>, length: usize) {
        let clean = clean::clean(text).to_lowercase();
        for word in self.words.find_iter(&clean) {
            if ids.len() >= length {
                break;
            }
            self.bpe.encode(word.as_str(), self.end, ids);
        }
    }
}

/// The padding token: `!` for SD2.1, the end token for most others.
fn pad_token(folder: &Path) -> Result<String, TokenizerError> {
    for name in ["special_tokens_map.json", "tokenizer_config.json"] {
        let path = folder.join(name);
        if !path.exists() {
            continue;
        }
        let text = read_bounded(&path)
            .map_err(|source| TokenizerError::Read { path: path.clone(), source })?;
        let values: Value = serde_json::from_str(&text).map_err(|error| {
            TokenizerError::Format { path: path.clone(), why: error.to_string() }
        })?;
        let pad = &values["pad_token"];
        if let Some(pad) = pad.as_str().or_else(|| pad["content"].as_str()) {
            return Ok(pad.to_owned());
        }
    }
    Ok(END.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_vocabulary_is_the_published_one() {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/test/tokenizer-clip-full");
        let published = std::fs::read_to_string(folder.join("vocab.json")).unwrap();
        let published: std::collections::HashMap<String, u32> =
            serde_json::from_str(&published).unwrap();
        let (built_in, loaded) = (Tokenizer::clip(Pad::End), Tokenizer::load(&folder).unwrap());
        assert_eq!(built_in.vocabulary(), published.len());
        for (token, &id) in &published {
            assert_eq!(built_in.bpe.id(token), Some(id), "{token}");
        }
        for text in ["a photo of a cat", "Über <|endoftext|>!", "\u{1f680} 12", ""] {
            assert_eq!(built_in.encode(text, 77), loaded.encode(text, 77), "{text}");
        }
        let padded = Tokenizer::clip(Pad::Nothing).encode("a cat", 77);
        assert_eq!((padded[3], padded[4], padded[76]), (49407, 0, 0));
    }
}

//! Byte pair encoding of single words.
//!
//! Prompts come from clients and a word may be thousands of letters long, so merging must not take time by the square
//! of its length: pairs wait in a heap, and the parts of the word are a linked list.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Marks the end of a word inside the vocabulary.
const WORD_END: &str = "</w>";

/// No neighbour on this side.
const NONE: usize = usize::MAX;

/// A vocabulary and its merges.
pub struct Bpe {
    ids: HashMap<String, u32>,
    /// The symbols that a byte can be, within a word and at its end. A symbol is the vocabulary's id of a string that a
    /// part of a word can be; what the vocabulary lacks has a number beyond.
    bytes: Vec<[u32; 2]>,
    /// What two neighbouring parts become, and when: the lower rank goes first.
    merges: HashMap<(u32, u32), Merge>,
    /// The first symbol that is no id.
    end: u32,
}

#[derive(Clone, Copy)]
struct Merge {
    rank: usize,
    into: u32,
}

/// A part of a word and its neighbours.
struct Part {
    symbol: u32,
    before: usize,
    after: usize,
}

/// A pair that may be merged: rank, place of the left part, and both symbols to see whether it still stands there.
type Candidate = Reverse<(usize, usize, (u32, u32))>;

impl Bpe {
    pub fn parse(vocabulary: &str, merges: &str) -> Result<Self, String> {
        let ids: HashMap<String, u32> = serde_json::from_str(vocabulary)
            .map_err(|error| format!("it is not a map of tokens to ids: {error}"))?;
        Ok(Self::new(ids, merges))
    }

    /// The vocabulary that CLIP's trainer made of its merges: the letters, the letters that end a word, what the merges
    /// make, and special tokens.
    pub fn of_merges(merges: &str, special: &[&str]) -> Self {
        let mut letters: Vec<String> = letters().iter().map(char::to_string).collect();
        letters.sort();
        let ends = letters.iter().map(|letter| format!("{letter}{WORD_END}")).collect::<Vec<_>>();
        let made = pairs(merges).map(|(left, right)| format!("{left}{right}"));
        let tokens = letters.into_iter().chain(ends).chain(made);
        let tokens = tokens.chain(special.iter().map(|&token| token.to_owned()));
        Self::new(tokens.zip(0..).collect(), merges)
    }

    fn new(ids: HashMap<String, u32>, merges: &str) -> Self {
        let end = ids.values().max().map_or(0, |last| last.saturating_add(1));
        let mut symbols = Symbols { ids: &ids, others: HashMap::new(), end };
        let bytes = letters().into_iter().map(|letter| {
            [symbols.of(&letter.to_string()), symbols.of(&format!("{letter}{WORD_END}"))]
        });
        let bytes = bytes.collect();
        let mut made = String::new();
        let ranked = pairs(merges).enumerate().map(|(rank, (left, right))| {
            made.clear();
            made.extend([left, right]);
            let into = symbols.of(&made);
            ((symbols.of(left), symbols.of(right)), Merge { rank, into })
        });
        let merges = ranked.collect();
        Self { ids, bytes, merges, end }
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
        let mut parts = self.split(word);
        let mut waiting: BinaryHeap<Candidate> =
            (0..parts.len()).filter_map(|left| self.candidate(&parts, left)).collect();
        while let Some(Reverse((_, left, pair))) = waiting.pop() {
            if pair_at(&parts, left) != Some(pair) {
                continue;
            }
            self.merge(&mut parts, left, pair);
            waiting.extend(self.candidate(&parts, left));
            waiting.extend(self.candidate(&parts, parts[left].before));
        }
        let mut at = 0;
        while let Some(part) = parts.get(at) {
            ids.push(if part.symbol < self.end { part.symbol } else { unknown });
            at = part.after;
        }
    }

    fn candidate(&self, parts: &[Part], left: usize) -> Option<Candidate> {
        let pair = pair_at(parts, left)?;
        self.merges.get(&pair).map(|merge| Reverse((merge.rank, left, pair)))
    }

    /// Joins the part at `left` with the one after it, which falls out of the list.
    fn merge(&self, parts: &mut [Part], left: usize, pair: (u32, u32)) {
        let right = parts[left].after;
        let after = parts[right].after;
        parts[left] = Part { symbol: self.merges[&pair].into, after, ..parts[left] };
        parts[right] = Part { symbol: u32::MAX, before: NONE, after: NONE };
        if let Some(part) = parts.get_mut(after) {
            part.before = left;
        }
    }

    /// The word's bytes, the last one marked as its end.
    fn split(&self, word: &str) -> Vec<Part> {
        let last = word.len().saturating_sub(1);
        let part = |(index, byte): (usize, u8)| Part {
            symbol: self.bytes[usize::from(byte)][usize::from(index == last)],
            before: index.checked_sub(1).unwrap_or(NONE),
            after: if index == last { NONE } else { index + 1 },
        };
        word.bytes().enumerate().map(part).collect()
    }
}

/// Gives strings their symbols.
struct Symbols<'a> {
    ids: &'a HashMap<String, u32>,
    /// Those that the vocabulary lacks.
    others: HashMap<String, u32>,
    end: u32,
}

impl Symbols<'_> {
    fn of(&mut self, text: &str) -> u32 {
        if let Some(&known) = self.ids.get(text).or_else(|| self.others.get(text)) {
            return known;
        }
        // A vocabulary may end at the last number; those that it lacks are then one.
        let next = self.end.saturating_add(self.others.len() as u32);
        self.others.insert(text.to_owned(), next);
        next
    }
}

/// The pairs of a merge list, first come first.
fn pairs(merges: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = merges.lines().filter(|line| !line.starts_with("#version"));
    lines.filter_map(|line| line.split_once(' '))
}

fn pair_at(parts: &[Part], left: usize) -> Option<(u32, u32)> {
    let part = parts.get(left)?;
    Some((part.symbol, parts.get(part.after)?.symbol))
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

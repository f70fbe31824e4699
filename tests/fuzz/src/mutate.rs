//! Deterministic damage to inputs: the same seed makes the same input on every machine.

use std::ops::Range;

/// Inputs do not grow beyond this.
const LONGEST: usize = 64 << 10;
const MOST_STEPS: usize = 4;

/// Makes inputs from those of a corpus.
pub struct Mutator<'a> {
    corpus: &'a [Vec<u8>],
    words: &'a [&'a str],
    state: u64,
}

impl<'a> Mutator<'a> {
    pub fn new(corpus: &'a [Vec<u8>], words: &'a [&'a str], seed: u64) -> Self {
        Self { corpus, words, state: seed }
    }

    /// A damaged copy.
    pub fn mutate(&mut self, input: &[u8]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for _ in 0..=self.below(MOST_STEPS) {
            self.step(&mut bytes);
            bytes.truncate(LONGEST);
        }
        bytes
    }

    fn step(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() + 1);
        match self.below(15) {
            0 => self.with_byte(bytes, |byte, chance| *byte ^= 1 << (chance % 8)),
            1 => self.with_byte(bytes, |byte, chance| *byte = chance as u8),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(self.range(bytes.len()))),
            4 => {
                let repeated = bytes[self.range(bytes.len())].to_vec();
                insert(bytes, at, &repeated);
            }
            5 => self.splice(bytes),
            6 => self.renumber(bytes),
            7 => insert(bytes, at, &[self.next() as u8]),
            8..=10 => self.exchange_value(bytes),
            11..=13 => self.add_member(bytes),
            _ => {
                let word = self.words[self.below(self.words.len())];
                insert(bytes, at, word.as_bytes());
            }
        }
    }

    fn with_byte(&mut self, bytes: &mut [u8], change: impl Fn(&mut u8, u64)) {
        let (at, chance) = (self.below(bytes.len()), self.next());
        if let Some(byte) = bytes.get_mut(at) {
            change(byte, chance);
        }
    }

    /// Puts a part of another input into this one's place.
    fn splice(&mut self, bytes: &mut Vec<u8>) {
        let corpus = self.corpus;
        let other = &corpus[self.below(corpus.len())];
        let (taken, replaced) = (self.range(other.len()), self.range(bytes.len()));
        bytes.splice(replaced, other[taken].iter().copied());
    }

    /// Puts a JSON value, of this input or another, into the place of another: what was JSON stays so.
    fn exchange_value(&mut self, bytes: &mut Vec<u8>) {
        let corpus = self.corpus;
        let other = &corpus[self.below(corpus.len())];
        let taken = match self.below(2) {
            0 => self.value(bytes).map(|range| bytes[range].to_vec()),
            _ => self.value(other).map(|range| other[range].to_vec()),
        };
        if let (Some(replaced), Some(taken)) = (self.value(bytes), taken) {
            bytes.splice(replaced, taken);
        }
    }

    /// Puts a word into a JSON object, as another of its members.
    fn add_member(&mut self, bytes: &mut Vec<u8>) {
        let opened = positions(bytes, |byte| byte == b'{');
        let members: Vec<_> = self.words.iter().filter(|word| word.starts_with('"')).collect();
        if opened.is_empty() || members.is_empty() {
            return;
        }
        let at = opened[self.below(opened.len())] + 1;
        let comma = if bytes.get(at) == Some(&b'}') { "" } else { "," };
        let member = format!("{}{comma}", members[self.below(members.len())]);
        insert(bytes, at, member.as_bytes());
    }

    /// Where some value of the JSON in an input stands.
    fn value(&mut self, bytes: &[u8]) -> Option<Range<usize>> {
        let starts = positions(bytes, |byte| matches!(byte, b':' | b'[' | b','));
        let start = *starts.get(self.below(starts.len()))? + 1;
        let length = value_length(bytes.get(start..)?);
        (length > 0).then_some(start..start + length)
    }

    /// Makes another of a number, where there is one.
    fn renumber(&mut self, bytes: &mut Vec<u8>) {
        const NUMBERS: [&str; 8] =
            ["0", "-1", "1e9", "0.5", "65536", "4294967296", "18446744073709551616", "1e400"];
        let digits = positions(bytes, |byte| byte.is_ascii_digit());
        if digits.is_empty() {
            return;
        }
        let start = digits[self.below(digits.len())];
        let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = NUMBERS[self.below(NUMBERS.len())];
        bytes.splice(start..start + length, number.bytes());
    }

    /// A short part of so many bytes.
    fn range(&mut self, length: usize) -> Range<usize> {
        let start = self.below(length + 1);
        let most = if self.below(4) == 0 { length } else { 64 };
        start..length.min(start + self.below(most + 1))
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn positions(bytes: &[u8], is_wanted: impl Fn(u8) -> bool) -> Vec<usize> {
    (0..bytes.len()).filter(|index| is_wanted(bytes[*index])).collect()
}

/// Bytes up to what ends a JSON value.
fn value_length(bytes: &[u8]) -> usize {
    let (mut depth, mut is_text, mut is_escaped) = (0, false, false);
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'{' | b'[' if !is_text => depth += 1,
            b',' | b'}' | b']' | b'\n' if !is_text && depth == 0 => return index,
            b'}' | b']' if !is_text => depth -= 1,
            _ => {}
        }
    }
    bytes.len()
}

fn insert(bytes: &mut Vec<u8>, at: usize, inserted: &[u8]) {
    bytes.splice(at..at, inserted.iter().copied());
}

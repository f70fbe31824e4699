//! What ftfy does to a prompt before CLIP's tokenizer sees it, and the collapsing of white space after it.
//!
//! Left out is ftfy's guess at text that was decoded with the wrong character set: prompts arrive here as JSON, which
//! has one. Everything else is in ftfy's order.

use unicode_normalization::UnicodeNormalization;

/// Cleans a text and collapses its white space.
pub fn clean(text: &str) -> String {
    let mut fixed = String::with_capacity(text.len());
    // As in ftfy, an angle bracket shows that this and the following lines are meant to be HTML already.
    let mut may_unescape = true;
    for line in text.split_inclusive('\n') {
        may_unescape &= !line.contains('<');
        fixed.push_str(&fix_until_stable(line, may_unescape));
    }
    fixed.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Deepest nesting of escapes that is undone. Each level costs a pass over the text, and nobody means a deeper one.
const MAX_PASSES: usize = 32;

/// A fix can make room for another, as in `&amp;lt;`.
fn fix_until_stable(line: &str, may_unescape: bool) -> String {
    let mut current = line.to_owned();
    for _ in 0..MAX_PASSES {
        let next = fix(&current, may_unescape);
        if next == current {
            break;
        }
        current = next;
    }
    current
}

fn fix(text: &str, may_unescape: bool) -> String {
    let unescaped =
        if may_unescape { html_escape::decode_html_entities(text) } else { text.into() };
    let mut fixed = String::with_capacity(unescaped.len());
    let mut rest = &*unescaped;
    while let Some(first) = rest.chars().next() {
        if let Some(length) = terminal_escape(rest) {
            rest = &rest[length..];
            continue;
        }
        push_fixed(first, &mut fixed);
        rest = &rest[first.len_utf8()..];
    }
    fixed.nfc().collect()
}

/// Length of a terminal's colour sequence, ESC `[` digits and semicolons and a letter, at the start of the text.
fn terminal_escape(text: &str) -> Option<usize> {
    let body = text.strip_prefix("\u{1b}[")?;
    let length = body.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
    body[length..].starts_with(|c: char| c.is_ascii_alphabetic()).then_some(2 + length + 1)
}

fn push_fixed(c: char, fixed: &mut String) {
    match c {
        '\u{2bc}' | '\u{2018}'..='\u{201b}' => fixed.push('\''),
        '\u{201c}'..='\u{201f}' => fixed.push('"'),
        '\u{85}' | '\u{2028}' | '\u{2029}' => fixed.push('\n'),
        // Full- and half-width forms, and the ideographic space.
        '\u{ff01}'..='\u{ffef}' | '\u{3000}' => fixed.extend(std::iter::once(c).nfkc()),
        c if is_control(c) => {}
        c => match ligature(c) {
            Some(letters) => fixed.push_str(letters),
            None => fixed.push(c),
        },
    }
}

fn is_control(c: char) -> bool {
    matches!(c,
        '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}'
        | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}')
}

fn ligature(c: char) -> Option<&'static str> {
    Some(match c {
        'Ĳ' => "IJ",
        'ĳ' => "ij",
        'ŉ' => "ʼn",
        'Ǳ' => "DZ",
        'ǲ' => "Dz",
        'ǳ' => "dz",
        'Ǆ' => "DŽ",
        'ǅ' => "Dž",
        'ǆ' => "dž",
        'Ǉ' => "LJ",
        'ǈ' => "Lj",
        'ǉ' => "lj",
        'Ǌ' => "NJ",
        'ǋ' => "Nj",
        'ǌ' => "nj",
        'ﬀ' => "ff",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ﬃ' => "ffi",
        'ﬄ' => "ffl",
        'ﬅ' => "ſt",
        'ﬆ' => "st",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn text_is_cleaned_as_ftfy_does_it() {
        for (text, wanted) in [
            ("“quoted” ‘single’", "\"quoted\" 'single'"),
            ("&amp; &lt;b&gt;", "& <b>"),
            ("&amp;lt;", "<"),
            ("<b> &amp;", "<b> &amp;"),
            ("ﬁne ＡＢＣ", "fine ABC"),
            ("a\u{3000}b \t c\n", "a b c"),
            ("\u{1b}[31;1mred\u{1b}[0m \u{7}bell", "red bell"),
            ("e\u{301}", "é"),
            ("\u{1b}[", "["),
        ] {
            assert_eq!(clean(text), wanted, "{text:?}");
        }
    }
}

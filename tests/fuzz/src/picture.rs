//! A picture of anybody's: what is kept of it is a small PNG, whatever came in; and a text that names one.
//!
//! The input is both the file and, where it is text, the URL or data URI.

use host_models::fuzzing;

pub const WORDS: &[&str] = &[
    "IHDR",
    "IDAT",
    "IEND",
    "PLTE",
    "tRNS",
    "iCCP",
    "eXIf",
    "acTL",
    "zTXt",
    "RIFF",
    "WEBP",
    "VP8 ",
    "VP8L",
    "VP8X",
    "ANIM",
    "ALPH",
    "EXIF",
    "Exif\0\0MM\0\x2a",
    "JFIF",
    "https://",
    "data:image/png;base64,",
    "@127.0.0.1",
    "0x7f.1",
    "[::ffff:",
    ":99999/",
];

/// Of the picture that is kept.
const LONGEST_SIDE: u32 = 1024;
/// In bytes: its pixels, and what a PNG of no pattern needs beside them.
const LARGEST: usize = 1024 * 1024 * 3 + 100_000;
/// In characters. They are told to clients.
const LONGEST_REFUSAL: usize = 500;

pub fn picture(data: &[u8]) -> bool {
    let refusal =
        std::str::from_utf8(data).ok().and_then(|text| fuzzing::picture_source(text).err());
    if let Some(refusal) = refusal {
        assert!(refusal.chars().count() <= LONGEST_REFUSAL, "{refusal}");
    }
    let Ok(png) = fuzzing::picture(data) else { return false };
    assert!(png.len() <= LARGEST, "{} bytes", png.len());
    let side = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().expect("four bytes"));
    let (width, height) = (side(16), side(20));
    assert!((1..=LONGEST_SIDE).contains(&width) && (1..=LONGEST_SIDE).contains(&height));
    // Ours is taken as it is.
    assert_eq!(fuzzing::picture(&png).expect("it is a picture"), png);
    true
}

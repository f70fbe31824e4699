//! What reads the hub's answers and the pictures of anybody, for the fuzz targets in `tests/fuzz`.

use crate::choose::{Precision, choose, components};
use crate::error::PullError;
use crate::names::{FileName, ModelId};
use crate::pictures::{DecodeError, Rules, decode, source};
use crate::repository::parse_listing;
use serde_json::{Map, Value};

/// The files that would be fetched of a repository with this listing and, if it has one, this index of a pipeline.
pub fn chosen(
    listing: &[u8],
    index: Option<&Map<String, Value>>,
) -> Result<Vec<FileName>, PullError> {
    let id = ModelId::parse("org/name").expect("it is an id");
    let listing = parse_listing(listing, &id, "http://hub")?;
    Ok(choose(&listing.files, index.map(components).as_ref(), Precision::Half))
}

/// What is kept of a picture.
pub fn picture(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    decode::to_png(bytes)
}

/// Whether a text may name a picture; else why not.
pub fn picture_source(text: &str) -> Result<(), String> {
    let read = source::read(text, &Rules::default(), 1 << 20);
    read.map(drop).map_err(|error| error.to_string())
}

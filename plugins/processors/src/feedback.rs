//! The previous output, laid over the picture.

use crate::params::{Checked, Params, Range};
use crate::picture::Picture;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeedbackParams {
    /// The share of the previous output.
    pub feedback_strength: f64,
}

impl Default for FeedbackParams {
    fn default() -> Self {
        Self { feedback_strength: 0.5 }
    }
}

impl Params for FeedbackParams {
    const RANGES: &'static [Range<Self>] = &[Range {
        name: "feedback_strength",
        from: 0.0,
        to: 1.0,
        get: |params| params.feedback_strength,
    }];
}

/// With s the strength, (1 - s) times the picture plus s times the previous output, rounded; the picture where there is no
/// output yet. Both have the same size.
pub fn feedback(
    picture: &Picture,
    previous: Option<&Picture>,
    params: &Checked<FeedbackParams>,
) -> Result<Picture, FeedbackError> {
    let Some(previous) = previous else { return Ok(picture.clone()) };
    let [wanted, got] = [picture, previous].map(|picture| (picture.width(), picture.height()));
    if wanted != got {
        return Err(FeedbackError { wanted, got });
    }
    let strength = params.feedback_strength as f32;
    let mut mixed = picture.black();
    let levels = picture.rgb().iter().zip(previous.rgb());
    for (mixed, (&picture, &previous)) in mixed.rgb_mut().iter_mut().zip(levels) {
        let (picture, previous) = (f32::from(picture), f32::from(previous));
        *mixed = (picture + strength * (previous - picture) + 0.5) as u8;
    }
    Ok(mixed)
}

#[derive(Debug, thiserror::Error)]
#[error("the previous output has {}x{} pixels; it must have the picture's {}x{}", got.0, got.1, wanted.0, wanted.1)]
pub struct FeedbackError {
    wanted: (usize, usize),
    got: (usize, usize),
}

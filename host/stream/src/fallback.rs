//! What viewers see while the pipeline has nothing for them.

/// A stream's choice, the param `fallback`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// The publisher's picture, as it comes.
    #[default]
    Input,
    /// The last frame shown stands.
    LastFrame,
    Black,
}

impl Fallback {
    /// The word in params.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::LastFrame => "last_frame",
            Self::Black => "black",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Input, Self::LastFrame, Self::Black].into_iter().find(|each| each.name() == name)
    }
}

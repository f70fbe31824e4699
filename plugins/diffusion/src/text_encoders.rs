//! Texts to embeddings, by the one or two text encoders of a checkpoint.
//!
//! Encoders are used only when a new text comes, and those of SDXL take gigabytes. They can be let go after a while and
//! are loaded again for the next new text, which then waits for that. What texts came to is remembered, so that going
//! back to one needs no encoder.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::engine::{Engine, LoadError, Model, RunError, Source};
use crate::files::Stored;
use crate::lora::Patches;
use crate::nets::ClipText;
use crate::sizes::{Rows, Sizes};
use crate::tensor::Tensor;
use crate::tokenizer::Tokenizer;

/// Texts remembered; one of SDXL takes 0.6 MB.
const MOST_KNOWN: usize = 64;

/// Why a text has no embedding.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    #[error("the text encoders could not be loaded again for a new text")]
    Load(#[from] LoadError),
    #[error(transparent)]
    Run(#[from] RunError),
}

/// What a text means to the UNet.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding(Vec<Tensor>);

impl Embedding {
    /// One vector for each token, `[1, tokens, width]`.
    pub fn hidden(&self) -> &Tensor {
        &self.0[0]
    }

    /// One vector for the whole text, `[1, width]`, in families that have one.
    pub fn pooled(&self) -> Option<&Tensor> {
        self.0.get(1)
    }

    /// All of it, the tokens' vectors first.
    pub fn parts(&self) -> &[Tensor] {
        &self.0
    }
}

/// An encoder that is loaded when it is needed.
pub struct Encoder {
    pub tokenizer: Tokenizer,
    pub network: ClipText,
    pub weights: Stored,
    /// LoRAs merged into the weights whenever they are loaded.
    pub patches: Patches,
}

/// A checkpoint's text encoders, shared by its streams.
pub struct TextEncoders {
    engine: Engine,
    encoders: Vec<Encoder>,
    /// How long they are kept without a new text; for ever where there is none.
    kept_for: Option<Duration>,
    state: Mutex<State>,
}

struct State {
    /// One for each encoder, or none when they were let go.
    models: Vec<Model<ClipText>>,
    last_use: Instant,
    /// The latest used last.
    known: VecDeque<(String, Arc<Embedding>)>,
}

impl TextEncoders {
    /// Loads all of them. `goes_on` is asked again and again meanwhile, and cancels by answering false.
    pub fn load(
        engine: &Engine,
        encoders: Vec<Encoder>,
        kept_for: Option<Duration>,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Self, LoadError> {
        let models = load(engine, &encoders, goes_on)?;
        let state = State { models, last_use: Instant::now(), known: VecDeque::new() };
        Ok(Self { engine: engine.clone(), encoders, kept_for, state: Mutex::new(state) })
    }

    pub fn encoders(&self) -> &[Encoder] {
        &self.encoders
    }

    /// The token ids of a text for each encoder, padded.
    pub fn tokens(&self, text: &str) -> Vec<Vec<u32>> {
        self.encoders.iter().map(|encoder| encoder.tokens(text)).collect()
    }

    /// What a text means; the encoders are loaded again if that is not known and they were let go.
    pub fn embed(&self, text: &str) -> Result<Arc<Embedding>, EmbedError> {
        let mut state = self.state();
        if let Some(known) = state.recall(text) {
            return Ok(known);
        }
        if state.models.is_empty() {
            let start = Instant::now();
            state.models = load(&self.engine, &self.encoders, &mut || true)?;
            tracing::info!(seconds = start.elapsed().as_secs_f32(), "text encoders loaded again");
        }
        let embedding = Arc::new(self.run(&state.models, text)?);
        state.last_use = Instant::now();
        state.remember(text, embedding.clone());
        Ok(embedding)
    }

    /// Lets the encoders go if no new text came for long. Never waits, as it is asked at every frame.
    pub fn rest(&self, now: Instant) {
        let Some(kept_for) = self.kept_for else { return };
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Somebody has a new text just now.
            Err(TryLockError::WouldBlock) => return,
        };
        if !state.models.is_empty() && now.saturating_duration_since(state.last_use) >= kept_for {
            state.models.clear();
            tracing::info!("text encoders let go, as no new text came");
        }
    }

    /// Whether a new text needs no loading.
    pub fn are_loaded(&self) -> bool {
        !self.state().models.is_empty()
    }

    /// What it holds is whole after every change, so a panic elsewhere spoils nothing.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, models: &[Model<ClipText>], text: &str) -> Result<Embedding, RunError> {
        let (mut hidden, mut pooled) = (Vec::new(), None);
        for (encoder, model) in self.encoders.iter().zip(models) {
            let ids = encoder.tokens(text);
            let mut end = Tensor::zeros([1, ids.len()]);
            end.data_mut()[encoder.network.end_of(&ids)] = 1.0;
            let ids = Tensor::new([1, ids.len()], ids.iter().map(|&id| id as f32).collect());
            let has_pooled = encoder.network.pooled_width().is_some();
            let inputs = if has_pooled { vec![&ids, &end] } else { vec![&ids] };
            let mut outputs = model.run_all(&inputs)?.into_iter();
            hidden.extend(outputs.next());
            pooled = outputs.next().or(pooled);
        }
        let hidden = Tensor::join(&hidden.iter().collect::<Vec<_>>());
        Ok(Embedding(std::iter::once(hidden).chain(pooled).collect()))
    }
}

impl Encoder {
    fn tokens(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode(text, self.network.tokens())
    }
}

impl State {
    fn recall(&mut self, text: &str) -> Option<Arc<Embedding>> {
        let place = self.known.iter().position(|(known, _)| known == text)?;
        let entry = self.known.remove(place)?;
        let embedding = entry.1.clone();
        self.known.push_back(entry);
        Some(embedding)
    }

    fn remember(&mut self, text: &str, embedding: Arc<Embedding>) {
        if self.known.len() == MOST_KNOWN {
            self.known.pop_front();
        }
        self.known.push_back((text.to_owned(), embedding));
    }
}

fn load(
    engine: &Engine,
    encoders: &[Encoder],
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<Vec<Model<ClipText>>, LoadError> {
    let load = |encoder: &Encoder| {
        let Encoder { network, weights, patches, .. } = encoder;
        let sizes = Sizes { rows: Rows::ONE, height: 1, width: 1, tokens: network.tokens() };
        let source = Source { weights: weights.clone(), patches, sizes: Some(sizes) };
        engine.load(network.clone(), source, goes_on)
    };
    encoders.iter().map(load).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_not_used_for_longest_is_forgotten_first() {
        let mut state =
            State { models: Vec::new(), last_use: Instant::now(), known: VecDeque::new() };
        let embedding = Arc::new(Embedding(vec![Tensor::zeros([1])]));
        for index in 0..MOST_KNOWN {
            state.remember(&index.to_string(), embedding.clone());
        }
        assert!(state.recall("0").is_some());
        state.remember("new", embedding);
        assert_eq!(state.known.len(), MOST_KNOWN);
        assert!(state.recall("0").is_some() && state.recall("new").is_some());
        assert!(state.recall("1").is_none(), "used last of all before");
    }
}

//! From texts to what the UNet is given for each of its rows beside latents and timesteps.

use std::sync::Arc;

use crate::stream::Settings;
use crate::tensor::Tensor;
use crate::text_encoders::{EmbedError, Embedding, TextEncoders};

/// Inputs of the UNet that follow from the settings, one row for each of its rows, those with the negative prompt first.
#[derive(Clone, Debug)]
pub struct Conditioning(Vec<Tensor>);

impl Conditioning {
    /// In the order of the UNet's inputs: embeddings of the tokens; for SDXL also of the whole text, and the sizes.
    pub fn tensors(&self) -> &[Tensor] {
        &self.0
    }

    /// The embeddings of the tokens, `[rows, tokens, width]`.
    pub fn hidden(&self) -> &Tensor {
        &self.0[0]
    }

    /// The embeddings of the whole text, `[rows, width]`, where the family has them.
    pub fn pooled(&self) -> Option<&Tensor> {
        self.0.get(1)
    }
}

/// Makes conditionings for one stream, and holds on to the embeddings of the texts it uses.
#[derive(Default)]
pub struct Conditioner {
    texts: Vec<(String, Arc<Embedding>)>,
}

impl Conditioner {
    /// All rows for the settings. Texts that were in use before need no encoder.
    pub fn condition(
        &mut self,
        encoders: &TextEncoders,
        settings: &Settings,
    ) -> Result<Conditioning, EmbedError> {
        let (rows, negative_rows) = (settings.rows(), settings.negative_rows());
        let entries = settings.prompt.entries.iter().map(|(text, _)| text);
        let wanted = entries.chain((negative_rows > 0).then_some(&settings.negative_prompt));
        let texts = wanted.map(|text| Ok((text.clone(), self.embedding(encoders, text)?)));
        let texts = texts.collect::<Result<Vec<_>, EmbedError>>()?;
        let (positive, negative) = texts.split_at(settings.prompt.entries.len());

        let count = positive.first().map_or(0, |(_, embedding)| embedding.parts().len());
        let part = |(_, embedding): &(String, Arc<Embedding>), index: usize| {
            embedding.parts()[index].clone()
        };
        let spread = |index: usize| {
            let entries: Vec<Tensor> = positive.iter().map(|text| part(text, index)).collect();
            let mixed = settings.prompt.mix(&entries.iter().collect::<Vec<_>>()).repeat_rows(rows);
            match negative {
                [text] => Tensor::stack(&[&part(text, index).repeat_rows(negative_rows), &mixed]),
                _ => mixed,
            }
        };
        let mut tensors: Vec<Tensor> = (0..count).map(spread).collect();
        if count > 1 {
            tensors.push(sizes(settings).repeat_rows(rows + negative_rows));
        }
        self.texts = texts;
        Ok(Conditioning(tensors))
    }

    fn embedding(&self, encoders: &TextEncoders, text: &str) -> Result<Arc<Embedding>, EmbedError> {
        let known = self.texts.iter().find(|(known, _)| known == text);
        known.map_or_else(|| encoders.embed(text), |(_, embedding)| Ok(embedding.clone()))
    }
}

/// What SDXL is told of the picture: the size it had, where it was cropped, and the size it is to have.
fn sizes(settings: &Settings) -> Tensor {
    let (height, width) = (settings.shape.height as f32, settings.shape.width as f32);
    Tensor::new([1, 6], vec![height, width, 0.0, 0.0, height, width])
}

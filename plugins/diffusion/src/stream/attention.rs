//! The keys and values of earlier frames that cached attention attends to, as in StreamV2V: a ring of slots, of which a
//! call of the UNet fills one when its turn comes.
//!
//! Slots that were not filled yet hold zeros and take part, as in the original. Fewer `max_frames` let go what lies in the
//! slots beyond, more of them add slots of zeros; the rest stays. What is kept belongs to the rows of the batch, so the
//! ring starts anew when these become others.

use super::settings::CachedAttention;
use crate::engine::{Model, RunError};
use crate::nets::{MOST_CACHED_FRAMES, Unet};
use crate::resident::Resident;
use crate::tensor::Tensor;

/// What one stream's UNet is given of earlier frames.
#[derive(Default)]
pub struct AttentionCache {
    /// Of each kept call the keys and values of all layers, in the order of the UNet's outputs.
    ring: Ring<Vec<Resident>>,
    fillers: Option<Fillers>,
}

impl AttentionCache {
    /// Starts anew.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Runs the UNet, whose first input are latents, on what is kept; then keeps what it leaves if it is its turn.
    pub fn run(
        &mut self,
        unet: &Model<Unet>,
        inputs: &[&Tensor],
        cached: CachedAttention,
    ) -> Result<Tensor, RunError> {
        self.ring.narrow(cached.max_frames);
        let slot = self.ring.next_slot(cached);
        let fillers = match &mut self.fillers {
            Some(fillers) => fillers,
            none => none.insert(Fillers::new(unet, inputs[0].shape())?),
        };
        let resident = resident(&self.ring, fillers, cached.max_frames);
        let (noise, latest) = unet.run_resident(inputs, &resident, slot.is_some())?;
        self.ring.finish(slot, latest);
        Ok(noise)
    }
}

/// The UNet's inputs beside its own: for all keys and values of a layer every slot.
fn resident<'a>(
    ring: &'a Ring<Vec<Resident>>,
    fillers: &'a Fillers,
    max_frames: usize,
) -> Vec<&'a Resident> {
    let slots = |(part, (zeros, nothing)): (usize, (&'a Resident, &'a Resident))| {
        ring.slots.iter().enumerate().map(move |(slot, kept)| match kept {
            Some(kept) => &kept[part],
            None if slot < max_frames => zeros,
            None => nothing,
        })
    };
    fillers.zeros.iter().zip(&fillers.nothing).enumerate().flat_map(slots).collect()
}

/// What stands in slots without a frame, for all keys and values.
struct Fillers {
    zeros: Vec<Resident>,
    /// In slots that are not in use: no tokens.
    nothing: Vec<Resident>,
}

impl Fillers {
    /// Layers of one size share theirs.
    fn new(unet: &Model<Unet>, latents: &[usize]) -> Result<Self, RunError> {
        let [rows, _, height, width] = *latents else {
            unreachable!("latents are pictures: the stream makes them")
        };
        let mut known: Vec<Resident> = Vec::new();
        let mut filler = |shape: [usize; 3]| match known.iter().find(|each| each.shape() == shape) {
            Some(filler) => Ok(filler.clone()),
            None => {
                let filler = unet.zeros(&shape)?;
                known.push(filler.clone());
                Ok::<_, RunError>(filler)
            }
        };
        let (mut zeros, mut nothing) = (Vec::new(), Vec::new());
        for [tokens, channels] in unet.network().self_attentions([height, width]) {
            for _keys_and_values in 0..2 {
                zeros.push(filler([rows, tokens, channels])?);
                nothing.push(filler([rows, 0, channels])?);
            }
        }
        Ok(Self { zeros, nothing })
    }
}

/// Which calls are kept, and where.
struct Ring<T> {
    /// Calls so far.
    calls: u64,
    slots: [Option<T>; MOST_CACHED_FRAMES],
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self { calls: 0, slots: [const { None }; MOST_CACHED_FRAMES] }
    }
}

impl<T> Ring<T> {
    /// Lets go what lies beyond the slots in use: it would be attended to for ever, as nothing overwrites it.
    fn narrow(&mut self, max_frames: usize) {
        self.slots.iter_mut().skip(max_frames).for_each(|slot| *slot = None);
    }

    /// Where what the next call leaves is to be kept, if it is its turn.
    fn next_slot(&self, cached: CachedAttention) -> Option<usize> {
        let calls = self.calls + 1;
        let turn = (calls / cached.interval).checked_sub(1)?;
        calls.is_multiple_of(cached.interval).then_some((turn % cached.max_frames as u64) as usize)
    }

    /// Counts a call.
    fn finish(&mut self, slot: Option<usize>, latest: T) {
        self.calls += 1;
        if let Some(slot) = slot {
            self.slots[slot] = Some(latest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Numbers of calls in the slots in use, by the rule as StreamV2V's code has it.
    #[derive(Default)]
    struct Plain {
        calls: usize,
        slots: Vec<Option<usize>>,
    }

    impl Plain {
        fn call(&mut self, max_frames: usize, interval: usize) {
            self.slots.resize(max_frames, None);
            self.calls += 1;
            if self.calls.is_multiple_of(interval) {
                self.slots[(self.calls / interval - 1) % max_frames] = Some(self.calls);
            }
        }
    }

    proptest! {
        #[test]
        fn the_ring_keeps_what_a_plain_one_does(
            changes in prop::collection::vec((1..=MOST_CACHED_FRAMES, 1usize..=7, 1usize..=12), 1..12)
        ) {
            let (mut ring, mut plain) = (Ring::default(), Plain::default());
            for (max_frames, interval, calls) in changes {
                let cached = CachedAttention { max_frames, interval: interval as u64 };
                for _ in 0..calls {
                    ring.narrow(max_frames);
                    let slot = ring.next_slot(cached);
                    ring.finish(slot, plain.calls + 1);
                    plain.call(max_frames, interval);
                    prop_assert_eq!(&ring.slots[..max_frames], &plain.slots[..]);
                    prop_assert!(ring.slots[max_frames..].iter().all(Option::is_none));
                }
            }
        }
    }
}

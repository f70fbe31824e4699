//! The frames that ControlNets steer to, and the pictures made of them, each made once for all rows and networks.

use crate::stream::Source;
use crate::tensor::Tensor;
use std::collections::VecDeque;
use std::sync::Arc;

/// One frame, in the form that networks take.
pub(super) struct Look {
    pub frame: Source,
    pub picture: Arc<Tensor>,
    /// By those that make pictures of frames; none where one did not work.
    pub made: Vec<Option<Arc<Tensor>>>,
}

impl Look {
    fn of(&self, maker: Option<usize>) -> Option<&Tensor> {
        match maker {
            Some(at) => self.made.get(at)?.as_deref(),
            None => Some(&self.picture),
        }
    }
}

/// The newest one first.
#[derive(Default)]
pub(super) struct Seen(VecDeque<Look>);

impl Seen {
    /// Takes the newest one and keeps so many, and the one before them.
    pub(super) fn add(&mut self, look: Look, kept: usize) {
        self.0.push_front(look);
        self.0.truncate(kept + 1);
    }

    pub(super) fn last_made(&self, maker: usize) -> Option<Arc<Tensor>> {
        self.0.front()?.made.get(maker)?.clone()
    }

    /// What rows of these frames are steered to, and the frames before theirs: one picture for all of them where that is
    /// the same, else one for each row. Without frames they are of the newest one.
    pub(super) fn pictures(&self, maker: Option<usize>, frames: &[Source]) -> Option<[Tensor; 2]> {
        let oldest = self.0.len().checked_sub(1)?;
        // One that came before there was anything to steer is as near as can be to the oldest one.
        let place =
            |frame: &Source| self.0.iter().position(|look| look.frame == *frame).unwrap_or(oldest);
        let mut places: Vec<usize> = frames.iter().map(place).collect();
        match places.first() {
            Some(first) if places.iter().all(|place| place == first) => places.truncate(1),
            Some(_) => {}
            None => places.push(0),
        }
        let pictures: Option<Vec<&Tensor>> =
            places.iter().map(|&place| self.0[place].of(maker)).collect();
        let before = |&place: &usize| &*self.0[(place + 1).min(oldest)].picture;
        let before: Vec<&Tensor> = places.iter().map(before).collect();
        Some([Tensor::stack(&pictures?), Tensor::stack(&before)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(id: u64) -> Source {
        Source { id, captured_ns: 0 }
    }

    /// A frame whose picture is its number, of which one maker made its tenfold.
    fn look(id: u64) -> Look {
        let picture = |value: f32| Arc::new(Tensor::new([1, 1, 1, 1], vec![value]));
        let made = vec![Some(picture(10.0 * id as f32)), None];
        Look { frame: frame(id), picture: picture(id as f32), made }
    }

    fn seen(ids: std::ops::RangeInclusive<u64>, kept: usize) -> Seen {
        let mut seen = Seen::default();
        ids.for_each(|id| seen.add(look(id), kept));
        seen
    }

    fn values(seen: &Seen, maker: Option<usize>, ids: &[u64]) -> Option<[Vec<f32>; 2]> {
        let frames: Vec<Source> = ids.iter().map(|&id| frame(id)).collect();
        Some(seen.pictures(maker, &frames)?.map(Tensor::into_data))
    }

    #[test]
    fn each_row_has_the_picture_of_its_frame_and_the_frame_before() {
        let seen = seen(1..=5, 3);
        let wanted = |now: &[f32], before: &[f32]| Some([now.to_vec(), before.to_vec()]);
        assert_eq!(values(&seen, None, &[5, 4, 3]), wanted(&[5.0, 4.0, 3.0], &[4.0, 3.0, 2.0]));
        assert_eq!(values(&seen, Some(0), &[4, 5]), wanted(&[40.0, 50.0], &[3.0, 4.0]));
        assert_eq!(values(&seen, Some(0), &[4, 4]), wanted(&[40.0], &[3.0]), "equal ones are one");
        assert_eq!(values(&seen, None, &[]), wanted(&[5.0], &[4.0]), "the newest");
        assert_eq!(values(&seen, None, &[5, 1]), wanted(&[5.0, 2.0], &[4.0, 2.0]), "the oldest");
        assert_eq!(values(&seen, Some(1), &[5]), None, "it did not work");
    }

    #[test]
    fn the_first_frame_has_none_before_it_and_is_its_own() {
        assert_eq!(values(&Seen::default(), None, &[]), None);
        let seen = seen(1..=1, 1);
        assert_eq!(values(&seen, None, &[1, 1]), Some([vec![1.0], vec![1.0]]));
    }
}

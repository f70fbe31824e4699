//! Movement in colours: the direction is the colour, the farthest is the strongest, what stays is white. As torchvision's
//! `flow_to_image` has them, by the wheel of Baker and others.

use super::flow::Flow;
use crate::picture::Picture;

/// From red over yellow, green, cyan, blue and magenta back to red: in how many steps, which channel changes, and whether
/// it grows.
const ARCS: [(usize, usize, bool); 6] =
    [(15, 1, true), (6, 0, false), (4, 2, true), (11, 1, false), (13, 0, true), (6, 2, false)];
const STEPS: usize = 55;

/// As large as the picture, times `strength`.
pub fn colours(picture: &Picture, flow: &Flow, strength: f32) -> Picture {
    let wheel = wheel();
    let moves = || flow.across.values.iter().zip(&flow.down.values);
    let farthest = moves().map(|(x, y)| x.hypot(*y)).fold(0.0, f32::max) + f32::EPSILON;
    let mut drawn = picture.black();
    for (pixel, (x, y)) in drawn.rgb_mut().as_chunks_mut::<3>().0.iter_mut().zip(moves()) {
        let colour = colour(&wheel, x / farthest, y / farthest);
        *pixel = colour.map(|share| ((255.0 * share).floor() * strength) as u8);
    }
    drawn
}

fn colour(wheel: &[[f32; 3]; STEPS], x: f32, y: f32) -> [f32; 3] {
    let turn = ((-y).atan2(-x) / std::f32::consts::PI + 1.0) / 2.0;
    let place = turn * (STEPS - 1) as f32;
    let step = (place as usize).min(STEPS - 1);
    let (here, next, share) = (wheel[step], wheel[(step + 1) % STEPS], place - step as f32);
    let far = x.hypot(y);
    std::array::from_fn(|channel| {
        let full = (1.0 - share) * here[channel] + share * next[channel];
        1.0 - far * (1.0 - full)
    })
}

fn wheel() -> [[f32; 3]; STEPS] {
    let mut wheel = [[0.0; 3]; STEPS];
    let (mut level, mut at) = ([255.0, 0.0, 0.0], 0);
    for (steps, channel, grows) in ARCS {
        for step in 0..steps {
            let done = (255.0 * step as f32 / steps as f32).floor();
            level[channel] = if grows { done } else { 255.0 - done };
            wheel[at] = level.map(|level| level / 255.0);
            at += 1;
        }
        level[channel] = if grows { 255.0 } else { 0.0 };
    }
    wheel
}

//! Sharper pictures: what a blur takes away is added once more.

use crate::gaussian::{Blurring, Gaussian, mirrored, pad};
use crate::params::{Checked, Params, Range};
use crate::picture::Picture;
use pulp::{Arch, Simd, WithSimd};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SharpenParams {
    /// How much of the unsharp mask is added.
    pub sharpen_intensity: f64,
    /// The standard deviation of the unsharp mask's Gaussian, in pixels.
    pub unsharp_radius: f64,
    /// How much more each pixel is set off from its four neighbours.
    pub edge_enhancement: f64,
    /// How much more each pixel is set off from the 3x3 pixels around it.
    pub detail_boost: f64,
    /// How far the picture is smoothed before all else.
    pub noise_reduction: f64,
    /// Whether the unsharp mask is the mean of three, with half, once and twice the radius.
    pub multi_scale: bool,
}

impl Default for SharpenParams {
    fn default() -> Self {
        Self {
            sharpen_intensity: 1.5,
            unsharp_radius: 1.0,
            edge_enhancement: 0.5,
            detail_boost: 0.3,
            noise_reduction: 0.1,
            multi_scale: true,
        }
    }
}

impl Params for SharpenParams {
    const RANGES: &'static [Range<Self>] = &[
        Range { name: "sharpen_intensity", from: 0.0, to: 5.0, get: |p| p.sharpen_intensity },
        Range { name: "unsharp_radius", from: 0.1, to: 10.0, get: |p| p.unsharp_radius },
        Range { name: "edge_enhancement", from: 0.0, to: 5.0, get: |p| p.edge_enhancement },
        Range { name: "detail_boost", from: 0.0, to: 5.0, get: |p| p.detail_boost },
        Range { name: "noise_reduction", from: 0.0, to: 1.0, get: |p| p.noise_reduction },
    ];
}

/// One, in the fixed point of the sums. The params' highest values stay far from the ends of 32 bits: 255 levels, and
/// factors that are 31 together.
const ONE: f64 = 65536.0;

/// With `G(s)` OpenCV's `GaussianBlur` of sigma `s` over `2 * ceil(3 * s) + 1` pixels, `F` the one of sigma 0.8 over 3x3,
/// each rounded to 8 bits, and `P` the picture:
///
/// - `C = P + noise_reduction * (F(P) - P)`, rounded to 8 bits
/// - `U = C - G(r)(C)` with `r` the `unsharp_radius`, or with `multi_scale` the mean of those of r/2, r and 2r
/// - `E` = `C` less the mean of the four pixels beside it, and `D = C - F(C)`
///
/// the result is `C + sharpen_intensity * U + edge_enhancement * E + detail_boost * D`, rounded and cut to 0..255. Beyond
/// the border the picture is mirrored about its outermost pixels.
pub fn sharpen(picture: &Picture, params: &Checked<SharpenParams>) -> Picture {
    let clean = cleaned(picture, params.noise_reduction);
    let masks = masks(params);
    let mut blurs: Vec<_> = masks.iter().map(|mask| Blurring::new(&mask.0, &clean)).collect();
    let row = || vec![0; 3 * picture.width()];
    let mut blurred: Vec<_> = masks.iter().map(|mask| (row(), fixed(-mask.1))).collect();
    let edge = fixed(params.edge_enhancement / 4.0);
    // All that is taken away at other places is added here, so that a plain area stays as it is.
    let center = ONE as i32 + 4 * edge - blurred.iter().map(|(_, factor)| factor).sum::<i32>();
    let (arch, mut sharp, mut sums) = (Arch::new(), picture.black(), vec![0; 3 * picture.width()]);
    let mut padded = vec![0; 3 * (picture.width() + 2)];
    for y in 0..picture.height() {
        for (blur, (row, _)) in blurs.iter_mut().zip(&mut blurred) {
            blur.blur(y, row);
        }
        pad(clean.row(y), 1, &mut padded);
        let [above, below] = [y as isize - 1, y as isize + 1]
            .map(|place| clean.row(mirrored(place, clean.height())));
        let (padded, blurred, sums, sharp) = (&*padded, &*blurred, &mut *sums, sharp.row_mut(y));
        arch.dispatch(Sum { padded, above, below, center, edge, blurred, sums, sharp });
    }
    sharp
}

/// The blurs that are needed, and how much of the difference to each is added.
fn masks(params: &SharpenParams) -> Vec<(Gaussian, f64)> {
    let radius = params.unsharp_radius;
    let radii =
        if params.multi_scale { vec![radius / 2.0, radius, radius * 2.0] } else { vec![radius] };
    let share = params.sharpen_intensity / radii.len() as f64;
    let unsharp = radii.into_iter().map(|radius| {
        let side = 2 * (3.0 * radius).ceil() as usize + 1;
        (Gaussian::new(side, radius), share)
    });
    let all = unsharp.chain([(fine(), params.detail_boost)]);
    all.filter(|(_, factor)| *factor > 0.0).collect()
}

fn fine() -> Gaussian {
    Gaussian::new(3, 0.8)
}

fn cleaned(picture: &Picture, strength: f64) -> Picture {
    let mut clean = picture.clone();
    if strength == 0.0 {
        return clean;
    }
    let smooth = fine().blur(picture);
    Arch::new().dispatch(Towards {
        clean: clean.rgb_mut(),
        smooth: smooth.rgb(),
        strength: fixed(strength),
    });
    clean
}

struct Towards<'a> {
    clean: &'a mut [u8],
    smooth: &'a [u8],
    strength: i32,
}

impl WithSimd for Towards<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (clean, smooth) in self.clean.iter_mut().zip(self.smooth) {
            let (level, smooth) = (i32::from(*clean), i32::from(*smooth));
            *clean = rounded(ONE as i32 * level + self.strength * (smooth - level));
        }
    }
}

fn fixed(factor: f64) -> i32 {
    (factor * ONE).round() as i32
}

#[inline(always)]
fn rounded(sum: i32) -> u8 {
    ((sum + (1 << 15)) >> 16).clamp(0, 255) as u8
}

/// Makes one row.
struct Sum<'a> {
    /// The row itself, with one more pixel on each side.
    padded: &'a [u8],
    above: &'a [u8],
    below: &'a [u8],
    center: i32,
    edge: i32,
    /// Its blurs, and the factor of each.
    blurred: &'a [(Vec<u8>, i32)],
    /// As long as the row.
    sums: &'a mut [i32],
    sharp: &'a mut [u8],
}

impl WithSimd for Sum<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let length = self.sums.len();
        let (left, here, right) = (self.padded, &self.padded[3..], &self.padded[6..]);
        let (left, here, right) = (&left[..length], &here[..length], &right[..length]);
        let (above, below) = (&self.above[..length], &self.below[..length]);
        for i in 0..length {
            let beside = i32::from(left[i]) + i32::from(right[i]);
            let around = beside + i32::from(above[i]) + i32::from(below[i]);
            self.sums[i] = self.center * i32::from(here[i]) - self.edge * around;
        }
        for (blur, factor) in self.blurred {
            let factor = *factor;
            for (sum, &level) in self.sums.iter_mut().zip(blur) {
                *sum += factor * i32::from(level);
            }
        }
        for (sharp, &sum) in self.sharp.iter_mut().zip(&*self.sums) {
            *sharp = rounded(sum);
        }
    }
}

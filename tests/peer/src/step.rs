//! Whether sound and pictures keep step: a publisher flashes and beeps at once, a reader tells by how much they are apart.

use crate::client::Client;
use crate::sound::hear;
use crate::video::{Codec, decode};
use std::time::{Duration, SystemTime};
use str0m::media::MediaData;

/// Samples of one packet of `Sound`.
const PACKET: usize = 960;
const QUIET: usize = 100 * 48;

/// By how many milliseconds the beeps of a reader's flashes came later than they, by the times of the server's reports.
pub struct Lags {
    pub each: Vec<f64>,
    /// Flashes without a beep within half a second.
    pub silent: usize,
}

impl Lags {
    /// The distance that this share of the flashes and beeps keeps.
    pub fn within(&self, share: f64) -> f64 {
        let mut apart: Vec<_> = self.each.iter().map(|lag| lag.abs()).collect();
        apart.sort_by(f64::total_cmp);
        let last = apart.len().saturating_sub(1);
        apart.get((last as f64 * share).ceil() as usize).copied().unwrap_or(f64::INFINITY)
    }

    pub fn mean(&self) -> f64 {
        self.each.iter().sum::<f64>() / self.each.len() as f64
    }
}

pub fn lags(reader: &Client, codec: Codec, frames: &[MediaData], heard: &[MediaData]) -> Lags {
    let beeps = beeps(reader, heard);
    let mut lags = Lags { each: Vec::new(), silent: 0 };
    for flash in flashes(reader, codec, frames) {
        let nearest = beeps
            .iter()
            .map(|beep| milliseconds(*beep) - milliseconds(flash))
            .min_by(|one, other| one.abs().total_cmp(&other.abs()));
        match nearest.filter(|lag| lag.abs() < 500.0) {
            Some(lag) => lags.each.push(lag),
            None => lags.silent += 1,
        }
    }
    lags
}

/// When the picture became bright.
fn flashes(reader: &Client, codec: Codec, frames: &[MediaData]) -> Vec<SystemTime> {
    let pictures = decode(codec, frames);
    let lit = pictures.windows(2).filter(|pair| pair[0].middle() < 80 && pair[1].middle() > 150);
    lit.filter_map(|pair| reader.moment(&frames[pair[1].frame])).collect()
}

/// When a sound began after it was quiet.
fn beeps(reader: &Client, heard: &[MediaData]) -> Vec<SystemTime> {
    let (mut beeps, mut quiet) = (Vec::new(), 0);
    for (index, sample) in hear(heard).iter().enumerate() {
        if sample.unsigned_abs() < 3000 {
            quiet += 1;
            continue;
        }
        if std::mem::take(&mut quiet) >= QUIET
            && let Some(packet) = heard.get(index / PACKET)
            && let Some(began) = reader.moment(packet)
        {
            beeps.push(began + Duration::from_micros((index % PACKET) as u64 * 1000 / 48));
        }
    }
    beeps
}

fn milliseconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

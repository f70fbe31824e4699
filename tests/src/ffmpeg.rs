//! FFmpeg as a player.

use std::process::{Command, Stdio};

/// Decodes so many frames of a size from a URL or file, as packed RGB, and insists on each of them.
pub fn decode(input: &str, (width, height): (usize, usize), frames: usize) -> Vec<Vec<u8>> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i", input, "-frames:v", &frames.to_string()])
        .args(["-an", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"])
        .stderr(Stdio::inherit())
        .output()
        .expect("ffmpeg is installed; `./dev setup test` does it");
    assert!(output.status.success(), "ffmpeg cannot play {input}");
    let pictures: Vec<_> = output.stdout.chunks(width * height * 3).map(<[u8]>::to_vec).collect();
    assert_eq!(output.stdout.len(), width * height * 3 * frames, "{frames} frames of {input}");
    pictures
}

/// What ffprobe says of a file's streams: one value of each, such as `codec_name` or `width`.
pub fn probe(input: &str, entry: &str) -> Vec<String> {
    let entry = format!("stream={entry}");
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", &entry, "-of", "default=nw=1:nk=1", input])
        .output()
        .expect("ffprobe is installed with ffmpeg");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    text.lines().map(str::to_owned).collect()
}

/// Whether every pixel of a packed RGB picture is near a colour.
pub fn is_plain(picture: &[u8], colour: [u8; 3]) -> bool {
    picture.chunks(3).all(|pixel| pixel.iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 24))
}

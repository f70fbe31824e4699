//! ffmpeg as publisher, reader and player.

use std::process::{Child, Command, Stdio};

/// A program that is ended when it is dropped.
pub struct Running(pub Child);

impl Running {
    pub fn end(&mut self) {
        // Both fail when it has ended by itself.
        let _ = (self.0.kill(), self.0.wait());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// The program with arguments that are split at blanks.
pub fn program(name: &str, arguments: &str) -> Command {
    let mut command = Command::new(name);
    command.args(arguments.split_ascii_whitespace()).stdin(Stdio::null());
    command
}

/// Encodes without holding pictures back.
pub const H264: &str = "-c:v libx264 -preset ultrafast -tune zerolatency -g 30 -pix_fmt yuv420p";

/// Publishes one colour by RTSP, as 0xRRGGBB.
pub fn publish_colour(colour: u32, transport: &str, url: &str) -> Running {
    let line = format!(
        "-loglevel error -re -f lavfi -i color=0x{colour:06x}:s=320x240:r=30 {H264} -f rtsp -rtsp_transport {transport} {url}"
    );
    Running(program("ffmpeg", &line).spawn().expect("ffmpeg is installed"))
}

/// Publishes one colour by RTMP, as encoders do: with pictures out of order, and sound.
pub fn publish_by_rtmp(colour: &str, url: &str) -> Running {
    let line = format!(
        "-v quiet -nostdin -re -f lavfi -i color=c={colour}:s=128x128:r=30 -re -f lavfi -i sine -c:a aac \
         -c:v libx264 -preset veryfast -pix_fmt yuv420p -g 30 -f flv {url}"
    );
    Running(program("ffmpeg", &line).spawn().expect("ffmpeg is installed"))
}

/// Means of red, green and blue of some picture, a few after the first; or what ffmpeg says where none comes.
pub fn seen_colour(transport: &str, url: &str) -> Result<[u32; 3], String> {
    let line = format!(
        "-loglevel error -rtsp_transport {transport} -i {url} -frames:v 5 -vf scale=1:1:flags=area \
         -fps_mode passthrough -f rawvideo -pix_fmt rgb24 -"
    );
    let output = program("ffmpeg", &line).output().expect("ffmpeg is installed");
    match output.stdout.last_chunk() {
        Some(pixel) => Ok(pixel.map(u32::from)),
        None => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

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

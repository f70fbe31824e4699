//! ffmpeg as publisher and reader.

use std::process::{Child, Command, Stdio};

/// A program that is ended when it is dropped.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when it has ended by itself.
        let _ = (self.0.kill(), self.0.wait());
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

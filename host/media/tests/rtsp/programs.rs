//! ffmpeg and GStreamer as publishers and readers.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program that publishes until it is dropped.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Ends by itself in this time.
    pub fn wait(&mut self, patience: Duration) {
        let give_up = Instant::now() + patience;
        while self.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < give_up, "it still runs");
            std::thread::yield_now();
        }
    }
}

/// Split at blanks.
fn command(program: &str, arguments: &str) -> Command {
    let mut command = Command::new(program);
    command.args(arguments.split_ascii_whitespace()).stdin(Stdio::null());
    command
}

/// Publishes what `source` says, in real time. Without `arguments` as H264.
pub fn ffmpeg_publishes(source: &str, arguments: &str, transport: &str, url: &str) -> Running {
    let h264 = "-c:v libx264 -preset ultrafast -tune zerolatency -g 30 -pix_fmt yuv420p";
    let arguments = if arguments.is_empty() { h264 } else { arguments };
    let line = format!(
        "-loglevel error -re {source} {arguments} -f rtsp -rtsp_transport {transport} {url}"
    );
    Running(command("ffmpeg", &line).spawn().expect("ffmpeg is installed"))
}

/// The same by GStreamer by UDP, where it hears of reports, with a key frame after so many pictures unless it is asked for one.
pub fn gstreamer_publishes(url: &str, between_key_frames: u32) -> Running {
    let line = format!(
        "-q videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=30/1 ! \
         x264enc tune=zerolatency speed-preset=ultrafast key-int-max={between_key_frames} ! h264parse ! \
         rtspclientsink protocols=udp location={url}"
    );
    Running(command("gst-launch-1.0", &line).spawn().expect("gst-launch-1.0 is installed"))
}

/// What it says, when it fails.
pub fn ffmpeg_fails(url: &str) -> String {
    let line = format!(
        "-loglevel error -f lavfi -i color=red:s=320x240:d=2 -c:v libx264 -f rtsp -rtsp_transport tcp {url}"
    );
    let output = command("ffmpeg", &line).output().expect("ffmpeg is installed");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// RGB of so many pictures of 160x120, by ffmpeg.
pub fn ffmpeg_plays(transport: &str, url: &str, pictures: usize) -> Vec<Vec<u8>> {
    let line = format!(
        "-loglevel error -rtsp_transport {transport} -i {url} \
         -an -frames:v {pictures} -fps_mode passthrough -f rawvideo -pix_fmt rgb24 -"
    );
    let output = command("ffmpeg", &line).output().expect("ffmpeg is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    pictures_of(&output.stdout, pictures)
}

/// The same by GStreamer; `protocols` as rtspsrc calls them.
pub fn gstreamer_plays(protocols: &str, url: &str, pictures: usize) -> Vec<Vec<u8>> {
    let line = format!(
        "-q rtspsrc location={url} protocols={protocols} latency=0 ! decodebin ! videoconvert ! \
         video/x-raw,format=RGB ! fdsink fd=1 sync=false"
    );
    let mut program = command("gst-launch-1.0", &line);
    let mut child = program.stdout(Stdio::piped()).spawn().expect("gst-launch-1.0 is installed");
    let mut bytes = vec![0; pictures * PICTURE];
    let read = child.stdout.take().unwrap().read_exact(&mut bytes);
    drop(Running(child));
    read.expect("pictures come");
    pictures_of(&bytes, pictures)
}

/// Mono samples of audio, by ffmpeg.
pub fn ffmpeg_hears(url: &str, seconds: f32) -> Vec<i16> {
    let line = format!(
        "-loglevel error -rtsp_transport tcp -i {url} -vn -t {seconds} -ac 1 -ar 8000 -f s16le -"
    );
    let output = command("ffmpeg", &line).output().expect("ffmpeg is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let samples = output.stdout.chunks_exact(2);
    samples.map(|bytes| i16::from_le_bytes([bytes[0], bytes[1]])).collect()
}

const PICTURE: usize = 160 * 120 * 3;

fn pictures_of(bytes: &[u8], wanted: usize) -> Vec<Vec<u8>> {
    let pictures: Vec<_> = bytes.chunks_exact(PICTURE).map(<[u8]>::to_vec).collect();
    assert_eq!(pictures.len(), wanted);
    pictures
}

/// Means of red, green and blue.
pub fn colour(picture: &[u8]) -> [u64; 3] {
    [0, 1, 2].map(|channel| {
        let values = picture.iter().skip(channel).step_by(3);
        values.map(|value| u64::from(*value)).sum::<u64>() / (picture.len() as u64 / 3)
    })
}

//! The settings of a MediaMTX beside the server, as they are written.

use serde::{Deserialize, Serialize};

/// [MediaMTX](https://github.com/bluenviron/mediamtx) 1.5.1 or newer serves what this server does not: hundreds of viewers,
/// recording, SRT. Whoever watches the path `{id}_out` there, by any of its protocols, sees the stream's output, which is there
/// within two seconds of the first that is published. It is fetched from this server while somebody watches, and the first
/// viewer waits two seconds longer than one of this server.
///
/// From MediaMTX 1.20 on streams can be published to through it, at the path `{id}`: with the stream key as password or bearer
/// token, or as `key` in the query, such as `rtsp://…/{id}?key={stream_key}`, `rtmp://…/{id}?key={stream_key}` and
/// `srt://…?streamid=publish:{id}:any:{stream_key}`. The video must be VP8, or H264 without B-frames and with its parameter sets
/// before each key frame. Older ones can only be watched. `/health` tells how it does.
///
/// One that is attached keeps its own settings; only paths of our streams are made there, and taken away again. So that it
/// lets in nobody else, set `mediamtx.hook_secret`, `mediamtx.user` and `mediamtx.password`, and there `authMethod: http` and
/// `authHTTPAddress: http://{this server}:{mediamtx.port}/mediamtx/{hook_secret}`; as long as that is not so, streams can only
/// be watched through it. This server then answers for all its paths: it lets anyone watch the outputs of streams, lets those
/// publish who know the key, lets `mediamtx.user` use its API, and refuses all else.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawMediaMtx {
    /// `off`; `spawn`, which runs the program `mediamtx.binary`, and again when it ends; or `attach`, to one that runs
    /// already.
    /// Needs a restart.
    pub mode: String,
    /// Port on which this server serves MediaMTX and nobody else, by plain HTTP; 0 takes any free one, by which it does not
    /// know paths again that a killed server left in an attached one.
    /// Needs a restart.
    pub port: i64,
    /// Address of that port.
    /// Needs a restart.
    pub listen: String,
    /// How MediaMTX reaches that port, such as `http://10.0.0.5:8891`. Empty: as this machine does.
    /// Needs a restart.
    pub host_url: String,
    /// To `spawn`: the program, by its path or as `PATH` has it.
    /// Needs a restart.
    pub binary: String,
    /// To `spawn`: port of its API, on loopback, where from 1.6 on only this server may call it, and before it whoever uses
    /// this machine; 0 takes any free one, as with all that follow.
    /// Needs a restart.
    pub api_port: i64,
    /// To `spawn`: port of RTSP by TCP, on the address `http.listen`, as with all that follow.
    /// Needs a restart.
    pub rtsp_port: i64,
    /// To `spawn`: port of RTMP.
    /// Needs a restart.
    pub rtmp_port: i64,
    /// To `spawn`: port of HLS.
    /// Needs a restart.
    pub hls_port: i64,
    /// To `spawn`: port of WHIP and WHEP.
    /// Needs a restart.
    pub webrtc_port: i64,
    /// To `spawn`: UDP port of the media of WebRTC.
    /// Needs a restart.
    pub webrtc_media_port: i64,
    /// To `spawn`: UDP port of SRT.
    /// Needs a restart.
    pub srt_port: i64,
    /// To `attach`: where its API is.
    /// Needs a restart.
    pub api_url: String,
    /// To `attach`: user of its API. Empty: it asks for none.
    /// Needs a restart.
    pub user: String,
    /// To `attach`: that user's password.
    /// Needs a restart.
    pub password: String,
    /// To `attach`: a secret of 16 or more letters and digits, by which it may ask this server whom to let in. Empty: it asks
    /// somebody else.
    /// Needs a restart.
    pub hook_secret: String,
}

/// The ports are none of this server's own.
impl Default for RawMediaMtx {
    fn default() -> Self {
        Self {
            mode: "off".into(),
            port: 8891,
            listen: "127.0.0.1".into(),
            host_url: String::new(),
            binary: "mediamtx".into(),
            api_port: 9997,
            rtsp_port: 9554,
            rtmp_port: 9935,
            hls_port: 9888,
            webrtc_port: 9889,
            webrtc_media_port: 9189,
            srt_port: 8890,
            api_url: "http://127.0.0.1:9997".into(),
            user: String::new(),
            password: String::new(),
            hook_secret: String::new(),
        }
    }
}

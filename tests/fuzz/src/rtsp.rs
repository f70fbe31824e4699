//! What a publisher sends by RTSP: requests, an announcement, packets of media.

pub const WORDS: &[&str] = &[
    "ANNOUNCE rtsp://h/a?key=b RTSP/1.0\r\n",
    "RTSP/1.0 200 OK\r\n",
    "Content-Length: 9\r\n",
    "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n",
    "Transport: RTP/AVP;client_port=1-2\r\n",
    "Authorization: Basic dTpw\r\n",
    "\r\n\r\n",
    "v=0\r\n",
    "m=video 0 RTP/AVP 96\r\n",
    "m=audio 0 RTP/AVP 97\r\n",
    "a=rtpmap:96 H264/90000\r\n",
    "a=rtpmap:96 VP8/90000\r\n",
    "a=rtpmap:97 mpeg4-generic/48000/2\r\n",
    "a=fmtp:97 sizelength=13;indexlength=3;indexdeltalength=3;config=1190\r\n",
    "sprop-parameter-sets=Z0IAHg==,aAE=",
    "$\0\0\x0c",
    "\u{1}",
    "65535",
];

/// Whether a picture or a sound came out.
pub fn rtsp(data: &[u8]) -> bool {
    host_media::fuzzing::publish_by_rtsp(data)
}

"""A WebRTC client made from GStreamer's webrtcbin, which has an RSA certificate and offers one m-line without BUNDLE.

Called with `publish` or `play`: writes its offer as one line of JSON, reads the answer so, and then writes
`connected` when the connection is up and `frame` for each of the first ten frames that it decodes. With `audio` as
second argument it offers Opus, too, bundled, and writes `sound` for each of the first ten pieces that it decodes.
"""

import json
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstSdp", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

Gst.init(None)
role = sys.argv[1]
caps = "application/x-rtp,media=video,encoding-name=H264,payload=96,clock-rate=90000,packetization-mode=(string)1"
PUBLISH = (
    "videotestsrc is-live=true pattern=ball ! video/x-raw,width=160,height=120,framerate=30/1 "
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 ! video/x-h264,profile=constrained-baseline "
    f"! rtph264pay config-interval=-1 aggregate-mode=zero-latency ! {caps} ! webrtcbin name=peer"
)
has_audio = "audio" in sys.argv
audio_caps = "application/x-rtp,media=audio,encoding-name=OPUS,payload=97,clock-rate=48000,encoding-params=(string)2"
if has_audio:
    PUBLISH += f" audiotestsrc is-live=true freq=1000 ! opusenc ! rtpopuspay ! {audio_caps} ! peer."
pipeline = Gst.Pipeline.new()
pipeline.add(Gst.parse_bin_from_description(PUBLISH if role == "publish" else "webrtcbin name=peer", False))
peer = pipeline.get_by_name("peer")
if has_audio:
    peer.props.bundle_policy = GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE
loop = GLib.MainLoop()


def say(line):
    print(line, flush=True)


def on_offer(promise):
    # The offer lives in the reply, which must be held as long.
    reply = promise.get_reply()
    offer = reply.get_value("offer")
    text = offer.sdp.as_text()
    peer.emit("set-local-description", offer, Gst.Promise.new())
    say(json.dumps(text))
    _, sdp = GstSdp.SDPMessage.new_from_text(json.loads(sys.stdin.readline()))
    answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, sdp)
    peer.emit("set-remote-description", answer, Gst.Promise.new())


def on_state(*_):
    if peer.props.connection_state == GstWebRTC.WebRTCPeerConnectionState.CONNECTED:
        say("connected")


counts = {"frame": 0, "sound": 0}


def on_decoded(_pad, _info, what):
    counts[what] += 1
    if counts[what] <= 10:
        say(what)
    return Gst.PadProbeReturn.OK


def on_pad(_, pad):
    is_audio = pad.get_current_caps().get_structure(0).get_string("media") == "audio"
    decoding = "rtpopusdepay ! opusdec" if is_audio else "rtph264depay ! h264parse ! avdec_h264"
    sink = Gst.parse_bin_from_description(f"{decoding} ! fakesink name=shown sync=false", True)
    shown = sink.get_by_name("shown").get_static_pad("sink")
    shown.add_probe(Gst.PadProbeType.BUFFER, on_decoded, "sound" if is_audio else "frame")
    peer.get_parent().add(sink)
    sink.sync_state_with_parent()
    pad.link(sink.get_static_pad("sink"))


peer.connect("notify::connection-state", on_state)
peer.connect("pad-added", on_pad)
if role == "play":
    direction = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
    peer.emit("add-transceiver", direction, Gst.Caps.from_string(caps))
    if has_audio:
        peer.emit("add-transceiver", direction, Gst.Caps.from_string(audio_caps))
peer.connect(
    "on-negotiation-needed",
    lambda _: peer.emit("create-offer", None, Gst.Promise.new_with_change_func(on_offer)),
)
pipeline.set_state(Gst.State.PLAYING)
# Ends with the test, or by itself if that goes wrong.
GLib.timeout_add_seconds(60, loop.quit)
loop.run()

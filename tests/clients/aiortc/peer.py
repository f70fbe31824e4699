"""Publishes a two-coloured picture and a tone by WHIP and looks at and listens to what comes back by WHEP, with aiortc, in
each of its codecs.

Environment: WHIP_URL, WHEP_URL. Prints PASS or FAIL and what was seen for each codec."""

import asyncio
import fractions
import os
import sys
import time
import urllib.error
import urllib.request

import av
import numpy
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpSender, RTCSessionDescription, VideoStreamTrack

WIDTH, HEIGHT = 320, 240
LEFT, RIGHT = (200, 40, 40), (40, 40, 200)
# What decoding twice may change of a colour.
TOLERANCE = 40
PATIENCE = 20
# Samples a second, in a packet, and waves a second.
RATE, PACKET, HERTZ = 48000, 960, 1000


class TwoColours(VideoStreamTrack):
    """Left one colour, right another, and a bright bar that moves."""

    async def recv(self):
        pts, time_base = await self.next_timestamp()
        picture = numpy.empty((HEIGHT, WIDTH, 3), numpy.uint8)
        picture[:, : WIDTH // 2], picture[:, WIDTH // 2 :] = LEFT, RIGHT
        row = int(time.monotonic() * 60) % (HEIGHT - 8)
        picture[row : row + 8, WIDTH // 2 - 20 : WIDTH // 2 + 20] = 255
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = pts, time_base
        return frame


class Tone(MediaStreamTrack):
    """One tone, in real time."""

    kind = "audio"

    def __init__(self):
        super().__init__()
        self.began, self.samples = time.monotonic(), 0

    async def recv(self):
        await asyncio.sleep(max(0, self.began + self.samples / RATE - time.monotonic()))
        moments = (self.samples + numpy.arange(PACKET)) / RATE
        wave = (numpy.sin(2 * numpy.pi * HERTZ * moments) * 12000).astype(numpy.int16)
        frame = av.AudioFrame.from_ndarray(wave.reshape(1, -1), format="s16", layout="mono")
        frame.pts, frame.sample_rate, frame.time_base = self.samples, RATE, fractions.Fraction(1, RATE)
        self.samples += PACKET
        return frame


def post(url, offer):
    request = urllib.request.Request(
        url, offer.encode(), {"Content-Type": "application/sdp"}, method="POST"
    )
    with urllib.request.urlopen(request) as answer:
        return answer.read().decode()


async def negotiate(peer, url):
    """Again and again while there is nothing to watch yet."""
    await peer.setLocalDescription(await peer.createOffer())
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            answer = await asyncio.to_thread(post, url, peer.localDescription.sdp)
            break
        except urllib.error.HTTPError as error:
            if error.code != 404 or time.monotonic() > give_up:
                raise RuntimeError(f"{url}: {error.code} {error.read().decode()}") from error
            await asyncio.sleep(0.1)
    await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))


def choose(transceiver, mime):
    offered = RTCRtpSender.getCapabilities("video").codecs
    transceiver.setCodecPreferences([codec for codec in offered if codec.mimeType == mime])


def is_as_sent(picture):
    """Whether both halves have the colours that were published, away from the edges."""
    height, width, _ = picture.shape
    def near(part, colour):
        return numpy.abs(part.reshape(-1, 3).mean(axis=0) - colour).max() < TOLERANCE
    return near(picture[:, : width // 4], LEFT) and near(picture[:, -width // 4 :], RIGHT)


async def watch(track):
    """Frames until both colours are there and the bar has moved."""
    bars, last = set(), None
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        frame = await asyncio.wait_for(track.recv(), PATIENCE)
        last = frame.to_ndarray(format="rgb24")
        middle = last[:, last.shape[1] // 2 - 4 : last.shape[1] // 2 + 4].mean(axis=(1, 2))
        bars.add(int(middle.argmax()))
        if is_as_sent(last) and len(bars) >= 5:
            return f"{last.shape[1]}x{last.shape[0]}"
    seen = None if last is None else (last[:, :40].mean(axis=(0, 1)), last[:, -40:].mean(axis=(0, 1)))
    raise RuntimeError(f"not the picture that was sent: halves {seen}, bar at {sorted(bars)}")


async def listen(track):
    """Sound until a quarter of a second of it has the tone's pitch."""
    heard = numpy.empty(0)
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        frame = await asyncio.wait_for(track.recv(), PATIENCE)
        samples = frame.to_ndarray().reshape(-1, len(frame.layout.channels)).mean(axis=1)
        heard = numpy.concatenate([heard, samples])[-RATE // 4 :]
        waves = numpy.count_nonzero(numpy.diff(numpy.signbit(heard))) / 2
        if len(heard) == RATE // 4 and numpy.abs(heard).max() > 6000 and abs(4 * waves - HERTZ) < HERTZ / 50:
            return f"{4 * waves:.0f} Hz"
    raise RuntimeError(f"not the tone that was sent: loudest {numpy.abs(heard).max(initial=0)}")


async def through(mime):
    publisher, reader = RTCPeerConnection(), RTCPeerConnection()
    try:
        publisher.addTrack(TwoColours())
        publisher.addTrack(Tone())
        choose(publisher.getTransceivers()[0], mime)
        await negotiate(publisher, os.environ["WHIP_URL"])
        tracks = {}
        reader.on("track", lambda track: tracks.update({track.kind: track}))
        choose(reader.addTransceiver("video", direction="recvonly"), mime)
        reader.addTransceiver("audio", direction="recvonly")
        await negotiate(reader, os.environ["WHEP_URL"])
        return await asyncio.gather(watch(tracks["video"]), listen(tracks["audio"]))
    finally:
        await publisher.close()
        await reader.close()


async def main():
    failed = False
    for mime in ["video/H264", "video/VP8"]:
        try:
            print("PASS", mime, await through(mime))
        except Exception as error:
            failed = True
            print("FAIL", mime, repr(error))
    sys.exit(failed)


asyncio.run(main())

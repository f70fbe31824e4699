// WHIP and WHEP: one offer, one answer, one DELETE at the end. The server answers with all its addresses, so nothing is
// trickled.

const BITRATE = 2_500_000;
const FRAME_RATE = 30;

class Session {
  constructor(peer, response, url) {
    this.peer = peer;
    const location = response.headers.get("Location");
    this.location = location ? new URL(location, url).href : null;
  }

  close() {
    this.peer.close();
    if (this.location) fetch(this.location, { method: "DELETE", keepalive: true }).catch(() => {});
  }
}

/** Sends the stream's video to a WHIP URL. `onState` hears of every change of the connection. */
export async function publish(url, stream, onState) {
  const peer = new RTCPeerConnection();
  peer.addEventListener("connectionstatechange", () => onState(peer.connectionState));
  const [track] = stream.getVideoTracks();
  track.contentHint = "motion";
  peer.addTransceiver(track, {
    direction: "sendonly",
    streams: [stream],
    sendEncodings: [{ maxBitrate: BITRATE, maxFramerate: FRAME_RATE }],
  });
  return connect(peer, url);
}

/** Plays a WHEP URL in `video`. Resolves to null while the server has nothing to show yet. */
export async function play(url, video, onState) {
  const peer = new RTCPeerConnection();
  peer.addEventListener("connectionstatechange", () => onState(peer.connectionState));
  peer.addEventListener("track", ({ track, receiver, streams }) => {
    // A live picture wants to be now, not smooth.
    if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
    video.srcObject = streams[0] ?? new MediaStream([track]);
    video.play().catch(() => {});
  });
  peer.addTransceiver("video", { direction: "recvonly" });
  return connect(peer, url, [404]);
}

async function connect(peer, url, notYet = []) {
  try {
    await peer.setLocalDescription();
    const response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/sdp" },
      body: peer.localDescription.sdp,
    });
    if (notYet.includes(response.status)) {
      peer.close();
      return null;
    }
    const text = await response.text();
    if (!response.ok) throw new Error(readable(text) ?? `the server answered ${response.status}`);
    const session = new Session(peer, response, url);
    await peer.setRemoteDescription({ type: "answer", sdp: text });
    return session;
  } catch (error) {
    peer.close();
    throw error;
  }
}

function readable(text) {
  try {
    return JSON.parse(text).error;
  } catch {
    return undefined;
  }
}

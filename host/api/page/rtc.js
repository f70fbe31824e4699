// WHIP and WHEP: one offer, one answer, one DELETE at the end. The server answers with all its addresses, so nothing is
// trickled.

const BITRATE = 2_500_000;
const FRAME_RATE = 30;
const PATIENCE_MS = 2000;

class Session {
  constructor(peer, response, url) {
    this.peer = peer;
    const location = response.headers.get("Location");
    this.location = location ? new URL(location, url).href : null;
  }

  /** Tells the server first: to a peer that is gone it ends the session by itself, and then there is none to delete. */
  async close() {
    const location = this.location;
    this.location = null;
    const request = { method: "DELETE", keepalive: true, signal: AbortSignal.timeout(PATIENCE_MS) };
    if (location) await fetch(location, request).catch(() => {});
    this.peer.close();
  }
}

/** The STUN and TURN servers that the server tells clients of, as an `RTCPeerConnection` wants them. */
async function iceServers(url) {
  const response = await fetch(url, { method: "OPTIONS" });
  const links = response.headers.get("Link") ?? "";
  return [...links.matchAll(/<([^>]+)>; rel="ice-server"((?:; [a-z-]+="(?:[^"\\]|\\.)*")*)/g)].map(
    ([, urls, login]) => {
      const value = (name) =>
        login.match(`; ${name}="((?:[^"\\\\]|\\\\.)*)"`)?.[1].replace(/\\(.)/g, "$1");
      return { urls, username: value("username"), credential: value("credential") };
    },
  );
}

/** Sends the stream's video to a WHIP URL. `onState` hears of every change of the connection. */
export async function publish(url, stream, onState) {
  const peer = new RTCPeerConnection({ iceServers: await iceServers(url) });
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

/** Plays a WHEP URL in `video`, once the server has something to show. */
export async function play(url, video, onState) {
  const peer = new RTCPeerConnection({ iceServers: await iceServers(url) });
  peer.addEventListener("connectionstatechange", () => onState(peer.connectionState));
  peer.addEventListener("track", ({ track, receiver, streams }) => {
    // A live picture wants to be now, not smooth.
    if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
    video.srcObject = streams[0] ?? new MediaStream([track]);
    video.play().catch(() => {});
  });
  peer.addTransceiver("video", { direction: "recvonly" });
  return connect(peer, url);
}

async function connect(peer, url) {
  try {
    await peer.setLocalDescription();
    const response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/sdp" },
      body: peer.localDescription.sdp,
    });
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

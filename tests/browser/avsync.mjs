// What a viewer hears and sees of a stream: with WHIP_URL, of Chromium's own test camera and microphone published through
// @daydreamlive/browser; else of whoever publishes a flash and a beep at once. Prints one JSON object; the caller judges it.
//   WHEP_URL, WHIP_URL, SECONDS, CHROMIUM
import { framesOf, withPages } from "./daydream.mjs";

const { WHIP_URL, WHEP_URL, SECONDS } = process.env;
const WARMUP_MS = 5000;

/** In a page: publishes camera and microphone. */
async function publish({ url }) {
  const { createBroadcast } = await import("/sdk.js");
  const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 240, frameRate: 30 }, audio });
  window.broadcast = createBroadcast({ whipUrl: url, stream });
  await window.broadcast.connect();
}

/** In a page: plays, and notes when the picture became bright and when a sound began. */
async function play({ url }) {
  const { createPlayer } = await import("/sdk.js");
  const video = document.querySelector("video");
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true, alpha: false });
  Object.assign(window, { frames_seen: [], flashes: [], beeps: [], peak: 0, wasBright: true });
  const note = (now, { expectedDisplayTime }) => {
    canvas.drawImage(video, 0, 0, 1, 1);
    const isBright = canvas.getImageData(0, 0, 1, 1).data[1] > 128;
    if (isBright && !window.wasBright) window.flashes.push(expectedDisplayTime);
    window.wasBright = isBright;
    window.frames_seen.push(now);
    video.requestVideoFrameCallback(note);
  };
  video.requestVideoFrameCallback(note);

  const ear = `registerProcessor("ear", class extends AudioWorkletProcessor {
    quiet = 0; loudest = 0;
    process([[samples]]) {
      for (const sample of samples ?? []) {
        this.loudest = Math.max(this.loudest, Math.abs(sample));
        if (Math.abs(sample) < 0.02) { this.quiet++; continue; }
        if (this.quiet > sampleRate / 10) this.port.postMessage(this.loudest);
        this.quiet = 0;
      }
      return true;
    }
  })`;
  const context = (window.context = new AudioContext({ latencyHint: "interactive" }));
  await context.audioWorklet.addModule(URL.createObjectURL(new Blob([ear], { type: "text/javascript" })));
  const worklet = new AudioWorkletNode(context, "ear", { numberOfOutputs: 0 });
  worklet.port.onmessage = ({ data }) => { window.beeps.push(performance.now()); window.peak = Math.max(window.peak, data); };

  const player = (window.player = createPlayer(url));
  const attach = () => {
    player.attachTo(video);
    if (!window.source && player.stream.getAudioTracks().length) {
      window.source = context.createMediaStreamSource(player.stream);
      window.source.connect(worklet);
    }
  };
  player.on("stateChange", (state) => { if (state === "playing") attach(); });
  await player.connect();
  const look = setInterval(() => { if (window.source) clearInterval(look); else if (player.stream) attach(); }, 50);
}

/** In a page: what was noted since `from`, and what the browser says of both tracks. */
async function look(from) {
  const peer = window.player.whepClient.getPeerConnection();
  const tracks = {};
  for (const stat of (await peer.getStats()).values()) {
    if (stat.type !== "inbound-rtp") continue;
    const buffered = (1000 * stat.jitterBufferDelay) / stat.jitterBufferEmittedCount;
    tracks[stat.kind] = { jitter_buffer_ms: buffered, playout: stat.estimatedPlayoutTimestamp, concealed: stat.concealedSamples,
      received: stat.totalSamplesReceived ?? stat.framesDecoded };
  }
  const after = (list) => list.filter((at) => at >= from);
  const streams = new Set(peer.remoteDescription.sdp.match(/a=msid:\S+/g)).size;
  return { flashes: after(window.flashes), beeps: after(window.beeps), peak: window.peak, tracks, streams, frames: window.frames_seen.length };
}

await withPages("avsync", null, async (open) => {
  if (WHIP_URL) await (await open()).evaluate(publish, { url: WHIP_URL });
  const viewer = await open();
  await viewer.evaluate(play, { url: WHEP_URL });
  await framesOf(viewer).more(10);
  await viewer.waitForTimeout(WARMUP_MS);
  const from = await viewer.evaluate("performance.now()");
  await viewer.waitForTimeout(1000 * Number(SECONDS));
  const { flashes, beeps, ...seen } = await viewer.evaluate(look, from);
  // Of each flash the nearest beep: positive if it is heard later.
  const lags = flashes.map((flash) => beeps.map((beep) => beep - flash).sort((a, b) => Math.abs(a) - Math.abs(b))[0])
    .filter((lag) => Math.abs(lag) < 500).sort((a, b) => a - b);
  const apart = lags.map(Math.abs).sort((a, b) => a - b), at = (list, share) => list[Math.ceil((list.length - 1) * share)];
  console.log(JSON.stringify({ ...seen, flashes: flashes.length, beeps: beeps.length, lag_p50_ms: at(lags, 0.5),
    apart_p95_ms: at(apart, 0.95), apart_max_ms: at(apart, 1) }));
});

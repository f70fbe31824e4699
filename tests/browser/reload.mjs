// A viewer through a reload of the pipeline: does it stay connected, and for how long does the picture stand? Prints one
// JSON object; the caller judges it.
//   WHIP_URL, WHEP_URL, PATCH_URL, PATCH_BODY (a change of the size), STATUS_URL, CHROMIUM
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { once } from "node:events";
import { chromium } from "playwright-core";

const { WHIP_URL, WHEP_URL, PATCH_URL, PATCH_BODY, STATUS_URL, CHROMIUM = "/usr/bin/chromium" } = process.env;
const SETTLED_FRAMES = 30, FRAMES_AFTER = 30, PATIENCE_MS = 60_000;

/** Pages come from another origin than the server, as in any real use. */
async function servePages() {
  const sdk = readFileSync(new URL("./node_modules/@daydreamlive/browser/dist/index.js", import.meta.url));
  const server = createServer((request, response) => {
    const isSdk = request.url === "/sdk.js";
    response.setHeader("Content-Type", isSdk ? "text/javascript" : "text/html");
    response.end(isSdk ? sdk : "<!doctype html><title>reload</title><video autoplay muted playsinline></video>");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return { server, origin: `http://localhost:${server.address().port}` };
}

async function publish({ url }) {
  const { createBroadcast } = await import("/sdk.js");
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 240, frameRate: 30 } });
  window.broadcast = createBroadcast({ whipUrl: url, stream });
  await window.broadcast.connect();
}

/** Plays, and notes the states of the player, and the time and width of every frame shown. */
async function play({ url }) {
  const { createPlayer } = await import("/sdk.js");
  const video = document.querySelector("video");
  window.states = [];
  window.frames_seen = [];
  const note = () => {
    window.frames_seen.push({ at: Date.now(), width: video.videoWidth });
    video.requestVideoFrameCallback(note);
  };
  video.requestVideoFrameCallback(note);
  const player = createPlayer(url);
  player.on("stateChange", (state) => {
    window.states.push(state);
    if (state === "playing") player.attachTo(video);
  });
  await player.connect();
}

function longestPause(frames) {
  return frames.slice(1).reduce((longest, frame, i) => Math.max(longest, frame.at - frames[i].at), 0);
}

const { server, origin } = await servePages();
const browser = await chromium.launch({
  executablePath: CHROMIUM, headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--mute-audio", "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
    "--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows"],
});
try {
  const open = async () => { const page = await browser.newPage(); await page.goto(origin); return page; };
  const publisher = await open(), viewer = await open();
  await publisher.evaluate(publish, { url: WHIP_URL });
  await viewer.evaluate(play, { url: WHEP_URL });
  const shown = (count) => viewer.waitForFunction((n) => frames_seen.length >= n, count, { timeout: PATIENCE_MS });
  const seen = () => viewer.evaluate("frames_seen.length");
  const processed = async () => (await (await fetch(STATUS_URL)).json()).frames_processed;
  // The input is shown until the pipeline works, the picture's size until then is none of its own.
  while ((await processed()) < 2 * SETTLED_FRAMES) await shown((await seen()) + 1);
  const start = await seen();
  await shown(start + 2 * SETTLED_FRAMES);

  const sent = Date.now(), settled = await seen();
  await viewer.evaluate("states.length = 0");
  const answer = await fetch(PATCH_URL, { method: "PATCH", headers: { "Content-Type": "application/json" }, body: PATCH_BODY });
  if (!answer.ok) throw new Error(`PATCH answered ${answer.status}: ${await answer.text()}`);
  const width = JSON.parse(PATCH_BODY).params.width;
  await viewer.waitForFunction((w) => frames_seen.at(-1).width === w, width, { timeout: PATIENCE_MS });
  await shown((await seen()) + FRAMES_AFTER);

  const frames = await viewer.evaluate("frames_seen"), states = await viewer.evaluate("states");
  const through = frames.slice(settled - 1);
  console.log(JSON.stringify({
    states,
    widths: [...new Set(through.map((frame) => frame.width))],
    longest_pause_before_ms: longestPause(frames.slice(start, settled)),
    longest_pause_ms: longestPause(through),
    loading_ms: through.find((frame) => frame.width === width).at - sent,
    frames: through.length,
  }));
} finally {
  await browser.close();
  server.close();
}

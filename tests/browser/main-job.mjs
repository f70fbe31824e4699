// The product's main job with real browsers: a camera is published through @daydreamlive/browser, another page plays
// the WHEP output, and a prompt is changed meanwhile. Prints one JSON object with small pictures of what was seen; the
// caller, which knows what the model makes of the camera's picture, judges them.
//   WHIP_URL, WHEP_URL, PATCH_URL, PATCH_BODY, STATUS_URL, CAMERA (a .y4m or .mjpeg file), CHROMIUM
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { once } from "node:events";
import { chromium } from "playwright-core";

const { WHIP_URL, WHEP_URL, PATCH_URL, PATCH_BODY, STATUS_URL, CAMERA, SHOT, CHROMIUM = "/usr/bin/chromium" } = process.env;
const SIDE = 32; // of the small pictures
const SETTLED_FRAMES = 20, FRAMES_AFTER = 20, PATIENCE_MS = 60_000;

/** Pages come from another origin than the server, as in any real use. */
async function servePages() {
  const sdk = readFileSync(new URL("./node_modules/@daydreamlive/browser/dist/index.js", import.meta.url));
  const server = createServer((request, response) => {
    const isSdk = request.url === "/sdk.js";
    response.setHeader("Content-Type", isSdk ? "text/javascript" : "text/html");
    response.end(isSdk ? sdk : "<!doctype html><title>main job</title><video autoplay muted playsinline></video>");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return { server, origin: `http://localhost:${server.address().port}` };
}

async function publish({ url }) {
  const { createBroadcast } = await import("/sdk.js");
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 512, height: 512, frameRate: 30 } });
  window.broadcast = createBroadcast({ whipUrl: url, stream, video: { bitrate: 4_000_000, maxFramerate: 30 } });
  await window.broadcast.connect();
}

/** Plays, and notes a small picture and the time of every frame shown. */
async function play({ url, side }) {
  const { createPlayer } = await import("/sdk.js");
  const started = performance.now(), video = document.querySelector("video");
  const canvas = new OffscreenCanvas(side, side).getContext("2d", { willReadFrequently: true, alpha: false });
  canvas.imageSmoothingQuality = "high";
  window.frames_seen = [];
  const note = (_, { rtpTimestamp }) => {
    canvas.drawImage(video, 0, 0, side, side);
    const { data } = canvas.getImageData(0, 0, side, side), rgb = [];
    for (let i = 0; i < data.length; i += 4) rgb.push(data[i], data[i + 1], data[i + 2]);
    window.frames_seen.push({ at: Date.now(), rtp: rtpTimestamp, rgb });
    video.requestVideoFrameCallback(note);
  };
  video.requestVideoFrameCallback(note);
  const player = createPlayer(url);
  player.on("stateChange", (state) => { if (state === "playing") player.attachTo(video); });
  await player.connect();
  return started;
}

const status = async () => (await fetch(STATUS_URL)).json();
const { server, origin } = await servePages();
const browser = await chromium.launch({
  executablePath: CHROMIUM, headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--mute-audio", "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", `--use-file-for-fake-video-capture=${CAMERA}`,
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
    "--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows"],
});
try {
  const open = async () => { const page = await browser.newPage(); await page.goto(origin); return page; };
  const publisher = await open(), viewer = await open();
  await publisher.evaluate(publish, { url: WHIP_URL });
  await viewer.evaluate(play, { url: WHEP_URL, side: SIDE });
  const shown = (count) => viewer.waitForFunction((n) => frames_seen.length >= n, count, { timeout: PATIENCE_MS });
  const seen = () => viewer.evaluate("frames_seen.length");
  // The status is looked at again whenever another frame was shown: until the pipeline works, the input is.
  while ((await status()).frames_processed < SETTLED_FRAMES) await shown((await seen()) + 1);
  await shown((await seen()) + SETTLED_FRAMES);

  const before = await viewer.evaluate("frames_seen.at(-1)");
  const sent = Date.now();
  const answer = await fetch(PATCH_URL, { method: "PATCH", headers: { "Content-Type": "application/json" }, body: PATCH_BODY });
  const answered = Date.now();
  if (!answer.ok) throw new Error(`PATCH answered ${answer.status}: ${await answer.text()}`);
  await shown((await seen()) + FRAMES_AFTER);
  const after = await viewer.evaluate(`frames_seen.filter((f) => f.at > ${answered})`);
  if (SHOT) await viewer.screenshot({ path: SHOT });
  console.log(JSON.stringify({ side: SIDE, before, after, patch_ms: answered - sent, status: await status() }));
} finally {
  await browser.close();
  server.close();
}

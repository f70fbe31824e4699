// What tests with Daydream's browser client share: pages of another origin than the server, in a Chromium whose camera is
// a file or Chromium's own test picture.
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { once } from "node:events";
import { chromium } from "playwright-core";

const { CHROMIUM = "/usr/bin/chromium" } = process.env;
const ARGUMENTS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--mute-audio", "--autoplay-policy=no-user-gesture-required",
  "--use-fake-device-for-media-stream=fps=30", "--use-fake-ui-for-media-stream",
  "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
  "--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows",
];
const PATIENCE_MS = 60_000;

/** Pages come from another origin than the server, as in any real use. */
async function servePages(title) {
  const sdk = readFileSync(new URL("./node_modules/@daydreamlive/browser/dist/index.js", import.meta.url));
  const server = createServer((request, response) => {
    const isSdk = request.url === "/sdk.js";
    response.setHeader("Content-Type", isSdk ? "text/javascript" : "text/html");
    response.end(isSdk ? sdk : `<!doctype html><title>${title}</title><video autoplay muted playsinline></video>`);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return { server, origin: `http://localhost:${server.address().port}` };
}

/** Runs `job` with a function that opens a page, and ends everything after it. */
export async function withPages(title, camera, job) {
  const { server, origin } = await servePages(title);
  const args = camera ? [...ARGUMENTS, `--use-file-for-fake-video-capture=${camera}`] : ARGUMENTS;
  const browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args });
  try {
    await job(async () => { const page = await browser.newPage(); await page.goto(origin); return page; });
  } finally {
    await browser.close();
    server.close();
  }
}

/** In a page: publishes the camera. */
export async function publish({ url, video, bitrate }) {
  const { createBroadcast } = await import("/sdk.js");
  const stream = await navigator.mediaDevices.getUserMedia({ video: { ...video, frameRate: 30 } });
  window.broadcast = createBroadcast({ whipUrl: url, stream, video: { bitrate, maxFramerate: 30 } });
  await window.broadcast.connect();
}

/** In a page: plays, and notes the time of every frame shown and, unless `is_blind` is set, a picture of `side` by `side`. */
export async function play({ url, side }) {
  const { createPlayer } = await import("/sdk.js");
  const started = performance.now(), video = document.querySelector("video");
  const canvas = new OffscreenCanvas(side, side).getContext("2d", { willReadFrequently: true, alpha: false });
  /** What the video shows now. */
  window.picture = (side) => {
    Object.assign(canvas.canvas, { width: side, height: side });
    canvas.imageSmoothingQuality = "high";
    canvas.drawImage(video, 0, 0, side, side);
    const { data } = canvas.getImageData(0, 0, side, side), rgb = [];
    for (let i = 0; i < data.length; i += 4) rgb.push(data[i], data[i + 1], data[i + 2]);
    return rgb;
  };
  window.frames_seen = [];
  const note = (_, { rtpTimestamp }) => {
    window.frames_seen.push({ at: Date.now(), rtp: rtpTimestamp, rgb: window.is_blind ? null : window.picture(side) });
    video.requestVideoFrameCallback(note);
  };
  video.requestVideoFrameCallback(note);
  const player = createPlayer(url);
  player.on("stateChange", (state) => { if (state === "playing") player.attachTo(video); });
  await player.connect();
  return started;
}

/** Waiting for the frames that a page has put into its list `frames_seen`. */
export function framesOf(page) {
  const seen = () => page.evaluate("frames_seen.length");
  const reach = (count) => page.waitForFunction((n) => frames_seen.length >= n, count, { timeout: PATIENCE_MS });
  const waitUntil = (isMet, argument) => page.waitForFunction(isMet, argument, { timeout: PATIENCE_MS });
  return { seen, waitUntil, more: async (count) => reach((await seen()) + count) };
}

/** Changes a stream, and gives when that was sent and answered. */
export async function patch(url, body) {
  const sent = Date.now();
  const answer = await fetch(url, { method: "PATCH", headers: { "Content-Type": "application/json" }, body });
  const answered = Date.now();
  if (!answer.ok) throw new Error(`PATCH answered ${answer.status}: ${await answer.text()}`);
  return { sent, answered };
}

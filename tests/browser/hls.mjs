// HLS in a real browser: a canvas that shows the time is published by WHIP, and hls.js plays the output. Then the stream is
// changed, and the same player goes on. Prints one JSON object; the caller judges it.
//   WHIP_URL, HLS_URL, PATCH_URL, PATCH_BODY (optional), SECONDS, CHROMIUM
import { loadavg } from "node:os";
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";
import { publish } from "./pixel-clock/page.mjs";
import { clockResult, launchBrowser, openPage, summarise } from "./pixel-clock/pixel-clock.mjs";

const { WHIP_URL, HLS_URL, PATCH_URL, PATCH_BODY, SECONDS = "10", CHROMIUM = "/usr/bin/chromium" } = process.env;
const PATIENCE_MS = 60_000, SETTLE_MS = 6000; // until the player has caught up with the live edge

/** In the page: plays and notes the time in every frame that is shown. */
function play(url) {
  const video = Object.assign(document.createElement("video"), { muted: true, autoplay: true, width: 512, height: 512 });
  document.body.append(video);
  const seen = (window.seen = { samples: [], fatal: [], hitches: [], manifests: 0, sizes: [] });
  // By default it does not catch up, and stays a second further back after each time that a busy machine made it wait.
  const hls = (window.hls = new Hls({ lowLatencyMode: true, maxLiveSyncPlaybackRate: 1.5, liveSyncOnStallIncrease: 0 }));
  hls.on(Hls.Events.MANIFEST_LOADED, () => seen.manifests++);
  hls.on(Hls.Events.ERROR, (_, { fatal, details }) => { (fatal ? seen.fatal : seen.hitches).push(details); });
  // By what a player that a busy machine made wait is further behind than it means to be, until it has caught up.
  const behind = () => 1000 * Math.max(hls.latency - hls.targetLatency, 0);
  const sample = () => {
    video.requestVideoFrameCallback(sample);
    if (seen.sizes.at(-1) !== video.videoWidth) seen.sizes.push(video.videoWidth);
    seen.samples.push([Date.now(), window.readClock(video, video.videoWidth, video.videoHeight), behind()]);
  };
  video.requestVideoFrameCallback(sample);
  hls.loadSource(url);
  hls.attachMedia(video);
}

const browser = await launchBrowser(CHROMIUM);
try {
  const publisher = await openPage(browser), viewer = await openPage(browser);
  await viewer.route(new URL("/**", HLS_URL).href, (route) => route.continue());
  await viewer.addScriptTag({ path: fileURLToPath(import.meta.resolve("hls.js/dist/hls.min.js")) });
  await publisher.evaluate(publish, { url: WHIP_URL, mode: "clock", codec: "any", size: 512, fps: 30, bitrate: 4e6, chipMs: 300 });
  for (const end = Date.now() + PATIENCE_MS; !(await fetch(HLS_URL)).ok; await sleep(200)) {
    if (Date.now() > end) throw new Error("there is no playlist");
  }
  await viewer.evaluate(play, HLS_URL);
  const shown = (count) => viewer.waitForFunction((least) => seen.samples.length >= least || seen.fatal.length > 0, count, { timeout: PATIENCE_MS });
  await shown(30);
  await sleep(SETTLE_MS);
  await viewer.evaluate("seen.samples.length = 0");
  await sleep(Number(SECONDS) * 1000);
  const samples = await viewer.evaluate("seen.samples");
  const { isRead, latencies, unreadable } = clockResult(samples);
  const at_target_ms = summarise(clockResult(samples.map(([now, clock, behind]) => [now - behind, clock])).latencies);
  const player = await viewer.evaluate("({ latency_s: hls.latency, target_s: hls.targetLatency, hitches: seen.hitches.slice() })");
  if (PATCH_URL) {
    const answer = await fetch(PATCH_URL, { method: "PATCH", headers: { "Content-Type": "application/json" }, body: PATCH_BODY });
    if (!answer.ok) throw new Error(`PATCH answered ${answer.status}: ${await answer.text()}`);
    const before = await viewer.evaluate("seen.sizes.length");
    await viewer.waitForFunction((least) => seen.sizes.length > least || seen.fatal.length > 0, before, { timeout: PATIENCE_MS });
    await shown((await viewer.evaluate("seen.samples.length")) + 30);
  }
  const { fatal, manifests, sizes } = await viewer.evaluate("({ ...seen, samples: [] })");
  const glass_to_glass_ms = summarise(latencies);
  console.log(JSON.stringify({ glass_to_glass_ms, at_target_ms, unreadable, isRead, fatal, manifests, sizes, player, load_average: loadavg()[0] }));
} finally {
  await browser.close();
}

// A viewer through a reload of the pipeline: does it stay connected, and for how long does the picture stand? Prints one
// JSON object; the caller judges it.
//   WHIP_URL, WHEP_URL, PATCH_URL, PATCH_BODY (a change of the size), STATUS_URL, CHROMIUM
import { framesOf, patch, publish, withPages } from "./daydream.mjs";

const { WHIP_URL, WHEP_URL, PATCH_URL, PATCH_BODY, STATUS_URL } = process.env;
const SETTLED_FRAMES = 60, FRAMES_AFTER = 30;

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

await withPages("reload", null, async (open) => {
  const publisher = await open(), viewer = await open();
  await publisher.evaluate(publish, { url: WHIP_URL, video: { width: 320, height: 240 }, bitrate: 1_000_000 });
  await viewer.evaluate(play, { url: WHEP_URL });
  const frames = framesOf(viewer);
  const processed = async () => (await (await fetch(STATUS_URL)).json()).frames_processed;
  // The input is shown until the pipeline works, and has a size of its own.
  while ((await processed()) < SETTLED_FRAMES) await frames.more(1);
  const start = await frames.seen();
  await frames.more(SETTLED_FRAMES);

  const settled = await frames.seen();
  await viewer.evaluate("states.length = 0");
  const { sent } = await patch(PATCH_URL, PATCH_BODY);
  const width = JSON.parse(PATCH_BODY).params.width;
  await frames.waitUntil((w) => frames_seen.at(-1).width === w, width);
  await frames.more(FRAMES_AFTER);

  const all = await viewer.evaluate("frames_seen"), states = await viewer.evaluate("states");
  const through = all.slice(settled - 1);
  console.log(JSON.stringify({
    states,
    widths: [...new Set(through.map((frame) => frame.width))],
    longest_pause_before_ms: longestPause(all.slice(start, settled)),
    longest_pause_ms: longestPause(through),
    loading_ms: through.find((frame) => frame.width === width).at - sent,
    frames: through.length,
  }));
});

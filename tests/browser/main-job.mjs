// The product's main job with real browsers: a camera is published through @daydreamlive/browser, another page plays
// the WHEP output, and the prompt is changed meanwhile. Prints one JSON object with pictures of what was seen; the
// caller, which knows what the model makes of the camera's picture, judges them.
//   WHIP_URL, WHEP_URL, PATCH_URL, PATCH_BODIES (a JSON array), STATUS_URL, CAMERA (a .y4m or .mjpeg file), CHROMIUM
import { framesOf, patch, publish, withPages } from "./daydream.mjs";

const { WHIP_URL, WHEP_URL, PATCH_URL, PATCH_BODIES, STATUS_URL, CAMERA, SHOT } = process.env;
const SMALL = 32, LARGE = 128; // sides of the pictures of every frame, and of those that are looked at closely
const SETTLED_FRAMES = 20, FRAMES_AFTER = 20;

/** In a page: what the video shows now. */
const look = (side) => window.picture(side);

/** Plays, and notes a small picture and the time of every frame shown. */
async function play({ url, side }) {
  const { createPlayer } = await import("/sdk.js");
  const started = performance.now(), video = document.querySelector("video");
  window.picture = (side) => {
    const canvas = new OffscreenCanvas(side, side).getContext("2d", { willReadFrequently: true, alpha: false });
    canvas.imageSmoothingQuality = "high";
    canvas.drawImage(video, 0, 0, side, side);
    const { data } = canvas.getImageData(0, 0, side, side), rgb = [];
    for (let i = 0; i < data.length; i += 4) rgb.push(data[i], data[i + 1], data[i + 2]);
    return rgb;
  };
  window.frames_seen = [];
  const note = (_, { rtpTimestamp }) => {
    window.frames_seen.push({ at: Date.now(), rtp: rtpTimestamp, rgb: window.picture(side) });
    video.requestVideoFrameCallback(note);
  };
  video.requestVideoFrameCallback(note);
  const player = createPlayer(url);
  player.on("stateChange", (state) => { if (state === "playing") player.attachTo(video); });
  await player.connect();
  return started;
}

const status = async () => (await fetch(STATUS_URL)).json();
await withPages("main job", CAMERA, async (open) => {
  const publisher = await open(), viewer = await open();
  await publisher.evaluate(publish, { url: WHIP_URL, video: { width: 512, height: 512 }, bitrate: 4_000_000 });
  await viewer.evaluate(play, { url: WHEP_URL, side: SMALL });
  const frames = framesOf(viewer);
  // The status is looked at again whenever another frame was shown: until the pipeline works, the input is.
  while ((await status()).frames_processed < SETTLED_FRAMES) await frames.more(1);
  await frames.more(SETTLED_FRAMES);

  const prompts = [{ frames: [await viewer.evaluate("frames_seen.at(-1)")], picture: await viewer.evaluate(look, LARGE) }];
  for (const body of JSON.parse(PATCH_BODIES)) {
    const { sent, answered } = await patch(PATCH_URL, JSON.stringify(body));
    await frames.more(FRAMES_AFTER);
    const after = await viewer.evaluate(`frames_seen.filter((f) => f.at > ${answered})`);
    prompts.push({ frames: after, picture: await viewer.evaluate(look, LARGE), patch_ms: answered - sent });
  }
  if (SHOT) await viewer.screenshot({ path: SHOT });
  console.log(JSON.stringify({ prompts, status: await status() }));
});

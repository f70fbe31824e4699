// The product's main job with real browsers: a camera is published through @daydreamlive/browser, another page plays
// the WHEP output, and the prompt is changed meanwhile. Prints one JSON object with pictures of what was seen; the
// caller, which knows what the model makes of the camera's picture, judges them.
//   WHIP_URL, WHEP_URL, PATCH_URL, PATCH_BODIES (a JSON array), STATUS_URL, CAMERA (a .y4m or .mjpeg file), CHROMIUM
import { framesOf, patch, play, publish, withPages } from "./daydream.mjs";

const { WHIP_URL, WHEP_URL, PATCH_URL, PATCH_BODIES, STATUS_URL, CAMERA, SHOT } = process.env;
const SMALL = 32, LARGE = 128; // sides of the pictures of every frame, and of those that are looked at closely
const SETTLED_FRAMES = 20, FRAMES_AFTER = 20;

/** In a page: what the video shows now. */
const look = (side) => window.picture(side);

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

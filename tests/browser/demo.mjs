// A stream from its creation on: Chromium's test camera is published through @daydreamlive/browser and another page plays
// what comes of it. Prints one JSON object: frames a second that were made and that were seen, and when the viewer first
// saw the pipeline's picture in place of the camera's, which is shown until the pipeline works.
//   STREAMS_URL, BODY (of the request that creates the stream), SIDE, SECONDS, CHROMIUM
import { framesOf, play, publish, withPages } from "./daydream.mjs";

const { STREAMS_URL, BODY, SIDE, SECONDS = "10" } = process.env;
const SMALL = 32; // width and height of the pictures that are compared
const SETTLED_FRAMES = 30;
const STATUS_EVERY_MS = 1000;

const video = { width: Number(SIDE), height: Number(SIDE) };
const headers = { "Content-Type": "application/json", Accept: "application/json" };

async function ask(url, request) {
  const answer = await fetch(url, { headers, ...request });
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}: ${await answer.text()}`);
  return answer.json();
}

/** In a page: what the camera's picture looks like. */
async function cameraPicture({ video, side }) {
  const element = document.querySelector("video");
  element.srcObject = await navigator.mediaDevices.getUserMedia({ video });
  await new Promise((resolve) => element.requestVideoFrameCallback(resolve));
  const canvas = new OffscreenCanvas(side, side).getContext("2d");
  canvas.imageSmoothingQuality = "high";
  canvas.drawImage(element, 0, 0, side, side);
  return [...canvas.getImageData(0, 0, side, side).data].filter((_, index) => index % 4 < 3);
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const distance = (one, other) => mean(one.map((value, index) => Math.abs(value - other[index])));

await withPages("demo", undefined, async (open) => {
  const publisher = await open(), viewer = await open();
  const createdAt = Date.now();
  const stream = await ask(STREAMS_URL, { method: "POST", body: BODY });
  const look = async () => {
    const status = await ask(`${STREAMS_URL}/${stream.id}/status`);
    return { at: Date.now(), made: status.frames_processed, fps: status.fps, latency_ms: status.latency_ms };
  };
  await publisher.evaluate(publish, { url: stream.whip_url, video });
  await viewer.evaluate(play, { url: stream.output_stream_url, side: SMALL });
  const frames = framesOf(viewer);
  while ((await look()).made < SETTLED_FRAMES) await frames.more(1);

  // Looking at pictures takes its part of what is measured from here on.
  await viewer.evaluate("is_blind = true");
  const looks = [await look()];
  while (looks.at(-1).at < looks[0].at + Number(SECONDS) * 1000) {
    await viewer.waitForTimeout(STATUS_EVERY_MS);
    looks.push(await look());
  }
  const [first, last] = [looks[0], looks.at(-1)], seconds = (last.at - first.at) / 1000;
  const seen = await viewer.evaluate("frames_seen");
  const settled = seen.filter((frame) => frame.at >= first.at && frame.at < last.at);
  const ours = await viewer.evaluate((side) => picture(side), SMALL), camera = await publisher.evaluate(cameraPicture, { video, side: SMALL });
  const styled = seen.find(({ rgb }) => rgb && distance(rgb, ours) < distance(rgb, camera));
  console.log(JSON.stringify({
    seconds,
    made_fps: (last.made - first.made) / seconds,
    seen_fps: new Set(settled.map((frame) => frame.rtp)).size / seconds,
    status_fps: looks.map((look) => look.fps),
    latency_ms: last.latency_ms,
    first_frame_ms: seen[0].at - createdAt,
    first_styled_ms: styled.at - createdAt,
    first_frame_to_camera: distance(seen[0].rgb, camera),
    styled_to_camera: distance(ours, camera),
  }));
  await fetch(`${STREAMS_URL}/${stream.id}`, { method: "DELETE" });
});

// A recorded file in a real browser, which goes to its end and back without playing what lies between: one JSON object.
//   FILE_URL, CHROMIUM
import { launchBrowser } from "./pixel-clock/pixel-clock.mjs";

const { FILE_URL, CHROMIUM = "/usr/bin/chromium" } = process.env;

/** In the page: what the player knows of the file, and where it is after each seek. */
async function seek(url) {
  const video = Object.assign(document.createElement("video"), { muted: true, preload: "auto", src: url });
  const happens = (name) => new Promise((resolve, reject) => {
    video.addEventListener(name, resolve, { once: true });
    video.addEventListener("error", () => reject(new Error(video.error.message)), { once: true });
  });
  const known = happens("loadeddata");
  document.body.append(video);
  await known;
  const seekable = video.seekable.length ? video.seekable.end(0) : 0;
  const places = [];
  for (const place of [0.75, 0.25]) {
    const there = happens("seeked");
    video.currentTime = seekable * place;
    await there;
    places.push(video.currentTime / seekable);
  }
  return { duration: video.duration, seekable, places, width: video.videoWidth };
}

const browser = await launchBrowser(CHROMIUM);
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(60_000);
  const answers = [];
  page.on("response", (answer) => answer.url() === FILE_URL && answers.push(answer.status()));
  const seen = await page.evaluate(seek, FILE_URL);
  console.log(JSON.stringify({ ...seen, duration: Number.isFinite(seen.duration) ? seen.duration : null, answers }));
} finally {
  await browser.close();
}

// The server's own page, as someone without a camera uses it first: start, watch, type, turn a parameter, stop. Prints one
// JSON object of what was seen; the caller judges it.
//   PAGE_URL, CHROMIUM
import { launchBrowser } from "./pixel-clock/pixel-clock.mjs";

const { PAGE_URL, CHROMIUM = "/usr/bin/chromium" } = process.env;
const PROMPT = "a paper boat on a dark lake";
const FRAMES = 15;

const browser = await launchBrowser(CHROMIUM);
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  page.setDefaultTimeout(60_000);
  const complaints = [], foreign = [], wishes = [];
  page.on("console", (message) => { if (message.type() === "error") complaints.push(message.text()); });
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== new URL(PAGE_URL).origin) foreign.push(request.url());
    if (request.method() === "POST" && request.url().endsWith("v1/streams")) wishes.push(request.postDataJSON());
  });
  const api = async (path) => (await fetch(new URL(path, PAGE_URL), { headers: { Accept: "application/json" } })).json();
  const streams = async () => (await api("v1/streams")).data;
  /** What the API says of the page's stream, once it is as expected. */
  const changed = async (isMet) => {
    for (const end = Date.now() + 60_000; Date.now() < end; ) {
      const [stream] = await streams();
      if (stream && isMet(stream.params)) return stream;
      await page.waitForTimeout(50);
    }
    throw new Error(`the page's change did not arrive: ${JSON.stringify(await streams())}`);
  };
  const shown = () => page.evaluate(() => document.getElementById("result").getVideoPlaybackQuality().totalVideoFrames);
  const advance = (from) => page.waitForFunction((least) => document.getElementById("result").getVideoPlaybackQuality().totalVideoFrames >= least, from + FRAMES);

  await page.goto(PAGE_URL);
  await page.waitForSelector("#start:enabled");
  await page.waitForSelector("#pipeline option", { state: "attached" });
  await page.focus("#start");
  await page.keyboard.press("Enter");
  await advance(0);
  await page.waitForSelector('#status[data-state="ok"]');

  await page.fill("#prompt", PROMPT);
  await page.check("#param-invert");
  const stream = await changed((params) => params.prompt === PROMPT && params.invert);
  await advance(await shown());
  const sides = await page.evaluate(() => ["local", "result"].map((id) => {
    const video = document.getElementById(id), canvas = new OffscreenCanvas(1, 1).getContext("2d");
    canvas.drawImage(video, 0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  }));
  // What reaches beyond the page's width, or lies on something else.
  const sizes = [[1920, 1080], [800, 900], [390, 844]], overflows = [];
  for (const [width, height] of sizes) {
    await page.setViewportSize({ width, height });
    overflows.push(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth));
  }
  await page.click("#stop");
  await page.waitForSelector("#start:enabled");
  while ((await streams()).length > 0) await page.waitForTimeout(50);
  console.log(JSON.stringify({ wishes, params: stream.params, input: sides[0], output: sides[1], overflows, complaints, foreign }));
} finally {
  await browser.close();
}

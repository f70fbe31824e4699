// The server's own page where the demo model is installed, as someone who has just started the server uses it: start, watch,
// choose styles with the mouse and the keyboard, type. Prints one JSON object of what was seen; the caller judges it.
//   PAGE_URL, CHROMIUM; SHOTS (a folder that gets pictures of the page)
import { launchBrowser } from "./pixel-clock/pixel-clock.mjs";

const { PAGE_URL, CHROMIUM = "/usr/bin/chromium", SHOTS } = process.env;
const FRAMES = 8; // that are shown before what they look like is noted

const browser = await launchBrowser(CHROMIUM);
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  page.setDefaultTimeout(60_000);
  const complaints = [], wishes = [];
  page.on("console", (message) => { if (message.type() === "error") complaints.push(message.text()); });
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("request", (request) => {
    if (request.method() === "POST" && request.url().endsWith("v1/streams")) wishes.push(request.postDataJSON());
  });
  const stream = async () => (await (await fetch(new URL("v1/streams", PAGE_URL), { headers: { Accept: "application/json" } })).json()).data[0];
  /** Does something that changes the prompt, and gives what it is once the server has taken the change. */
  const prompted = async (prompt, act) => {
    const isChange = (response) => response.request().method() === "PATCH" && response.request().postDataJSON().params.prompt === prompt;
    const answered = page.waitForResponse(isChange);
    await act();
    await answered;
    return (await stream()).params.prompt;
  };
  /** The mean colour of the result, some frames from now. */
  const colour = async () => {
    const count = () => document.getElementById("result").getVideoPlaybackQuality().totalVideoFrames;
    const from = await page.evaluate(count);
    await page.waitForFunction((least) => document.getElementById("result").getVideoPlaybackQuality().totalVideoFrames >= least, from + FRAMES);
    return page.evaluate(() => {
      const side = 64, canvas = new OffscreenCanvas(side, side).getContext("2d");
      canvas.drawImage(document.getElementById("result"), 0, 0, side, side);
      const { data } = canvas.getImageData(0, 0, side, side), sums = [0, 0, 0];
      data.forEach((value, index) => { if (index % 4 < 3) sums[index % 4] += value; });
      return sums.map((sum) => Math.round(sum / side / side));
    });
  };
  const pressed = () => page.locator('#styles button[aria-pressed="true"]').allTextContents();
  const shoot = async (name) => { if (SHOTS) await page.screenshot({ path: `${SHOTS}/${name}.png` }); };

  await page.goto(PAGE_URL);
  await page.waitForSelector("#start:enabled");
  const styles = await page.locator("#styles button").allTextContents();
  const atFirst = { prompt: await page.inputValue("#prompt"), pressed: await pressed() };
  await shoot("idle");
  await page.click("#start");
  // However slow the machine is.
  await page.getByText(/^running/).waitFor();

  const seen = [{ ...atFirst, colour: await colour() }];
  const blueprint = () => page.getByRole("button", { name: "blueprint" }).click();
  seen.push({ prompt: await prompted("blueprint", blueprint), pressed: await pressed(), colour: await colour() });
  await shoot("blueprint");
  await page.getByRole("button", { name: "sepia photograph" }).focus();
  const press = () => page.keyboard.press("Space");
  seen.push({ prompt: await prompted("sepia photograph", press), pressed: await pressed(), colour: await colour() });
  const own = "sepia photograph, woodcut";
  seen.push({ prompt: await prompted(own, () => page.fill("#prompt", own)), pressed: await pressed() });
  const overflows = [];
  for (const [width, height] of [[1920, 1080], [800, 900], [390, 844]]) {
    await page.setViewportSize({ width, height });
    overflows.push(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth));
    await shoot(`${width}`);
  }
  await page.click("#stop");
  await page.waitForSelector("#start:enabled");
  await page.selectOption("#pipeline", "passthrough");
  const isOffered = await page.isVisible("#styles");
  console.log(JSON.stringify({ wishes, styles, seen, overflows, isOfferedElsewhere: isOffered, complaints }));
} finally {
  await browser.close();
}

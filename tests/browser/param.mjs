// What the server's own page shows for one param of the pipeline it offers: one JSON object.
//   PAGE_URL, PARAM, CHROMIUM
import { launchBrowser } from "./pixel-clock/pixel-clock.mjs";

const { PAGE_URL, PARAM, CHROMIUM = "/usr/bin/chromium" } = process.env;

const browser = await launchBrowser(CHROMIUM);
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(60_000);
  await page.goto(PAGE_URL);
  await page.waitForSelector(`#param-${PARAM}`, { state: "attached" });
  console.log(JSON.stringify(await page.evaluate((id) => {
    const field = document.getElementById(id);
    const { type, min, max, value } = field;
    const label = document.querySelector(`label[for="${id}"]`).textContent;
    return { label, type, min, max, value, help: field.closest(".param").querySelector(".help").textContent };
  }, `param-${PARAM}`)));
} finally {
  await browser.close();
}

// Drives WHIP and WHEP through the real @daydreamlive/browser 0.3.2 in headless Chromium.
//   BASE_URL=http://127.0.0.1:8080 [TOKEN=...] [HTTP_ONLY=1] [AUDIO=1] [TIMEOUT_S=30] [CHROMIUM=chromium] node run.mjs
// The page is served from another origin than the server's, so CORS is enforced for real.
import { createServer } from "node:http";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { spawn } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";

const { BASE_URL, TOKEN, CHROMIUM = "chromium" } = process.env;
if (!BASE_URL) { console.error("set BASE_URL"); process.exit(2); }
const timeout = 1000 * (Number(process.env.TIMEOUT_S) || 30);
const api = (path, init = {}) => fetch(new URL(path, BASE_URL.replace(/\/*$/, "/")), { ...init, headers: { Accept: "application/json", "Content-Type": "application/json", ...(TOKEN ? { Authorization: `Bearer ${TOKEN}` } : {}) } });

let stream;
try {
  const r = await api("v1/streams", { method: "POST", body: JSON.stringify({ pipeline: "streamdiffusion", name: "conformance browser", params: { model_id: "stabilityai/sd-turbo", prompt: "conformance", width: 512, height: 512, acceleration: "none" } }) });
  stream = await r.json();
  if (r.status !== 201) throw new Error(`create answered ${r.status}: ${JSON.stringify(stream).slice(0, 200)}`);
} catch (e) { console.error(`no stream: ${e.cause?.message ?? e.message}`); process.exit(2); }

const files = { "/": ["text/html", new URL("./page.html", import.meta.url)], "/sdk.js": ["text/javascript", new URL("../node_modules/@daydreamlive/browser/dist/index.js", import.meta.url)] };
const config = { whipUrl: stream.whip_url, unknownWhipUrl: stream.whip_url.replace(stream.stream_key, "stk_unknown").replace(stream.id, "str_unknown"), httpOnly: !!process.env.HTTP_ONLY, audio: !!process.env.AUDIO, timeout };
let finish; const finished = new Promise((r) => { finish = r; });
const web = createServer(async (req, res) => {
  let text = ""; for await (const c of req) text += c;
  if (req.url === "/config") return res.setHeader("Content-Type", "application/json").end(JSON.stringify(config));
  if (req.url === "/line") { console.log(text); return res.end(); }
  if (req.url === "/done") { res.end(); return finish(JSON.parse(text)); }
  const f = files[req.url];
  if (!f) return res.writeHead(404).end();
  res.setHeader("Content-Type", f[0]).end(readFileSync(f[1]));
}).listen(0, "127.0.0.1");
await new Promise((r) => web.once("listening", r));

const profile = mkdtempSync(join(tmpdir(), "conformance-"));
const browser = spawn(CHROMIUM, ["--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio", `--user-data-dir=${profile}`, "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required", `http://localhost:${web.address().port}/`], { stdio: "ignore", detached: true });
const dropStream = () => api(`v1/streams?id=${encodeURIComponent(stream.id)}`, { method: "DELETE" }).catch(() => {});
browser.once("error", async (e) => { console.error(`cannot start ${CHROMIUM}: ${e.message}`); rmSync(profile, { recursive: true, force: true }); await dropStream(); process.exit(2); });
// The whole group is killed, as Chromium's other processes write into the profile for a while after the first has gone;
// a process that left the group may still do so, and a removal that meets a new file fails.
async function endBrowser() {
  try { process.kill(-browser.pid, "SIGKILL"); } catch (e) { if (e.code !== "ESRCH") throw e; } // it ended by itself
  if (browser.exitCode === null && browser.signalCode === null) await once(browser, "exit");
  for (let tries = 100; ; tries -= 1) {
    try { return rmSync(profile, { recursive: true, force: true }); }
    catch (e) { if (tries === 0) throw e; await delay(100); }
  }
}
const overall = setTimeout(() => finish(null), 8 * timeout);
const results = await finished; clearTimeout(overall);
await endBrowser();
await dropStream();
web.closeAllConnections(); web.close();
if (!results) console.log("FAIL page -- no report in time");
const failed = results ? results.filter((r) => r.verdict === "FAIL").length : 1, passed = results ? results.filter((r) => r.verdict === "PASS").length : 0;
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);

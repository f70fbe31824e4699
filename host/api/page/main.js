// The page: choose a pipeline, send a picture, watch what becomes of it, change it while it runs.

import * as api from "./api.js";
import { camera, screen, testClip } from "./clip.js";
import * as demo from "./demo.js";
import { Form } from "./form.js";
import { play, publish } from "./rtc.js";
import { showIdle, showNotes, showState, showStatus } from "./status.js";

const PATCH_DELAY_MS = 200;
const STATUS_EVERY_MS = 1000;
/** Until there is a picture. */
const STATUS_SOON_MS = 200;
const RETRY_MS = 1000;
const SOURCES = { clip: testClip, camera, screen };

const at = (id) => document.getElementById(id);
const form = new Form(at("params"), queue);

let pipelines = [];
/** Whether the demo model is installed. */
let hasDemo = false;
/** What was started: a source, then a stream with its sessions and timers. Null when idle. */
let running = null;

at("session").addEventListener("submit", (event) => { event.preventDefault(); start(); });
at("stop").addEventListener("click", () => stop());
at("pipeline").addEventListener("change", showModels);
at("model").addEventListener("change", showSchema);
// The demo has params of its own; what was set for another model stays.
at("model-name").addEventListener("change", () => { if (isDemo() === at("styles").hidden) showSchema(); });
at("prompt").addEventListener("input", changePrompt);
at("prompt").addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("session").requestSubmit(at("start")); });
at("fullscreen").addEventListener("click", () => at("result-screen").requestFullscreen());
at("token-form").addEventListener("submit", (event) => { event.preventDefault(); api.useToken(at("token").value); load(); });
for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => copy(button));
demo.addStyles(at("styles"), (style) => { at("prompt").value = style; changePrompt(); });
for (const [video, screenId, sizeId] of [["local", "local-screen", "local-size"], ["result", "result-screen", "result-size"]]) watchSize(at(video), at(screenId), at(sizeId));
addEventListener("pagehide", () => { if (running?.stream) api.removeOnLeave(running.stream.id); });
load();

// What can be chosen

async function load() {
  try {
    const { data } = await api.plugins();
    pipelines = data.pipelines;
    at("token-form").hidden = true;
    showNotes("page", []);
    const refused = data.plugins.filter((plugin) => plugin.state === "refused");
    showNotes("plugins", refused.map(({ file, reason }) => ({ text: `Plugin ${file} was refused: ${reason}` })));
    // What runs without a model comes first, so that the page's first choice works at once.
    pipelines.sort((a, b) => needsModel(a) - needsModel(b));
    const names = [...new Set(pipelines.map((offer) => offer.pipeline))];
    at("pipeline").replaceChildren(...names.map((name) => new Option(name)));
    hasDemo = names.includes(demo.PIPELINE) && await demoIsThere();
    if (hasDemo) at("pipeline").value = demo.PIPELINE;
    at("start").disabled = names.length === 0;
    if (names.length === 0) showNotes("page", [{ text: "No pipeline is installed. Put a plugin into the server's plugins folder and load this page again.", isBad: true }]);
    showModels();
  } catch (error) {
    at("token-form").hidden = error.status !== 401;
    const isFirst = error.status === 401 && !at("token").value;
    if (!isFirst) report(error.status === 401 ? new Error("The server does not take this token.") : error);
  }
}

/** A plan warns where the model would not be found. */
async function demoIsThere() {
  const wish = { pipeline: demo.PIPELINE, params: demo.PARAMS };
  return api.plan(wish).then(({ warnings }) => warnings.length === 0, () => false);
}

function isDemo() {
  return at("pipeline").value === demo.PIPELINE && model() === demo.PARAMS.model_id;
}

function needsModel(offer) {
  return Boolean(offer.models) || (offer.params_schema.required ?? []).includes("model_id");
}

/** A list of models where the pipeline has one, else a field that suggests some. */
function showModels() {
  const offers = pipelines.filter((offer) => offer.pipeline === at("pipeline").value);
  const isOpen = offers.some((offer) => !offer.models);
  const models = isOpen ? suggestions(offers) : offers.flatMap((offer) => offer.models);
  at(isOpen ? "model-choices" : "model").replaceChildren(...models.map((model) => new Option(model)));
  if (isOpen && !models.includes(at("model-name").value)) at("model-name").value = models[0] ?? "";
  at("model").hidden = isOpen;
  at("model-name").hidden = !isOpen;
  at("model-field").hidden = !offers.some(needsModel);
  at("model-name").required = isOpen && !at("model-field").hidden;
  showSchema();
}

/** The demo, where it can be had; what the schema gives as examples, else what the same plugins list under other names. */
function suggestions(offers) {
  const examples = offers.flatMap((offer) => offer.params_schema.properties?.model_id?.examples ?? []);
  const own = hasDemo && at("pipeline").value === demo.PIPELINE ? [demo.PARAMS.model_id] : [];
  const plugins = new Set(offers.map((offer) => offer.plugin));
  const listed = pipelines.filter((offer) => plugins.has(offer.plugin)).flatMap((offer) => offer.models ?? []);
  return [...new Set([...own, ...(examples.length > 0 ? examples : listed)])];
}

function model() {
  return at(at("model").hidden ? "model-name" : "model").value.trim();
}

function offer() {
  const [name, chosen] = [at("pipeline").value, model()];
  return pipelines.find((offer) => offer.pipeline === name && (!offer.models || offer.models.includes(chosen)));
}

function showSchema() {
  const schema = offer()?.params_schema ?? {};
  const count = form.show(schema);
  const prompt = schema.properties?.prompt;
  at("prompt-row").hidden = !prompt;
  at("prompt-help").textContent = prompt?.description ?? "";
  at("pipeline-help").textContent = offer()?.description ?? "";
  if (prompt && typeof prompt.default === "string" && !at("prompt").value) at("prompt").value = prompt.default;
  at("params-note").textContent = count === 0 ? "this pipeline has none" : "";
  at("styles").hidden = !isDemo();
  if (!isDemo()) return;
  form.set(demo.PARAMS);
  at("prompt").value ||= demo.STYLES[0];
  demo.markStyle(at("styles"), at("prompt").value);
}

// The stream

async function start() {
  if (running) return;
  const session = { pending: {}, timers: new Set() };
  running = session;
  setBusy(true);
  showNotes("page", []);
  try {
    await begin(session);
  } catch (error) {
    if (running !== session) return end(session);
    await stop();
    return report(error);
  }
  // Stopped while it began: what has come to be since then ends too.
  if (running !== session) await end(session);
}

async function begin(session) {
  session.source = await SOURCES[at("source").value]();
  if (running !== session) return;
  at("local").srcObject = session.source.stream;
  showState("wait", "creating the stream");
  session.stream = await api.create(wish());
  if (running !== session) return;
  showStream(session.stream);
  await sendTo(session);
  session.source.stream.getVideoTracks()[0].addEventListener("ended", () => { if (running === session) stop(); });
  poll(session);
  apply(session);
}

function wish() {
  const params = form.changed();
  if (!at("model-field").hidden) params.model_id = model();
  if (!at("prompt-row").hidden) params.prompt = at("prompt").value;
  return { pipeline: at("pipeline").value, params };
}

async function sendTo(session) {
  session.publisher?.close();
  session.publisher = await publish(session.stream.whip_url, session.source.stream, (state) => {
    if (state === "failed" && running === session) sendAgain(session);
  });
}

function sendAgain(session) {
  showNotes("sending", [{ text: "The connection for sending was lost; trying again." }]);
  later(session, RETRY_MS, () => sendTo(session).then(() => showNotes("sending", []), () => sendAgain(session)));
}

/** Whenever there is something to see and nothing is seen: at first, and after the connection failed. */
async function watch(session) {
  session.isWatching = true;
  const lost = (state) => { if (state === "failed") session.isWatching = false; };
  try {
    session.reader?.close();
    session.reader = await play(session.stream.output_stream_url, at("result"), lost);
    showNotes("watching", []);
  } catch (error) {
    session.isWatching = false;
    if (running === session) showNotes("watching", [{ text: error.message, isBad: true }]);
  }
  if (running !== session) session.reader?.close();
}

async function poll(session) {
  try {
    const status = await api.status(session.stream.id);
    if (running !== session) return;
    showStatus(status);
    if (status.data.host_status.has_picture && !session.isWatching) watch(session);
  } catch (error) {
    if (running !== session) return;
    if (error.status === 404) return stop("the stream was deleted");
    showState("bad", error.message);
  }
  later(session, session.reader ? STATUS_EVERY_MS : STATUS_SOON_MS, () => poll(session));
}

async function stop(text) {
  const session = running;
  running = null;
  at("local").srcObject = at("result").srcObject = null;
  for (const id of ["local-screen", "result-screen"]) at(id).classList.remove("live");
  for (const id of ["local-size", "result-size"]) at(id).textContent = "";
  for (const source of ["sending", "watching"]) showNotes(source, []);
  showIdle(text);
  showStream(null);
  setBusy(false);
  if (session) await end(session);
}

async function end(session) {
  for (const timer of session.timers) clearTimeout(timer);
  session.source?.end();
  // Before the stream, with which they would end too: what is gone cannot be deleted.
  await Promise.all([session.publisher?.close(), session.reader?.close()]);
  if (!session.stream) return;
  await api.remove(session.stream.id).catch((error) => { if (error.status !== 404) report(error); });
}

// Changes while it runs

function changePrompt() {
  queue("prompt", at("prompt").value);
  demo.markStyle(at("styles"), at("prompt").value);
}

/** Collects edits of a short while into one request; the newest value of each param wins. It does not wait for a pause:
 *  the picture follows while one still types or drags. */
function queue(name, value) {
  const session = running;
  if (!session) return;
  session.pending[name] = value;
  session.patchTimer ??= later(session, PATCH_DELAY_MS, () => { session.patchTimer = null; apply(session); });
}

async function apply(session) {
  if (!session.stream || session.isApplying || Object.keys(session.pending).length === 0) return;
  session.isApplying = true;
  const params = session.pending;
  session.pending = {};
  try {
    const stream = await api.change(session.stream.id, params);
    form.mark([]);
    showNotes("page", []);
    if (running === session && Object.keys(session.pending).length === 0) form.write(stream.params);
  } catch (error) {
    if (running === session) report(error);
  }
  session.isApplying = false;
  // What was typed meanwhile goes out as the next request, never beside this one.
  if (running === session) apply(session);
}

// Odds and ends

function later(session, delay, action) {
  const timer = setTimeout(() => { session.timers.delete(timer); if (running === session) action(); }, delay);
  session.timers.add(timer);
  return timer;
}

function setBusy(isBusy) {
  for (const id of ["start", "pipeline", "model", "model-name", "source"]) at(id).disabled = isBusy;
  at("stop").disabled = !isBusy;
  (isBusy ? at("stop") : at("start")).focus({ preventScroll: true });
}

function showStream(stream) {
  at("whip-url").value = stream?.whip_url ?? "";
  at("whep-url").value = stream?.output_stream_url ?? "";
  at("hls-url").value = stream?.output_hls_url ?? "";
  for (const button of document.querySelectorAll("[data-copy]")) button.disabled = !stream;
  if (stream) form.write(stream.params);
}

function report(error) {
  const others = form.mark((error.fields ?? []).map(inParams));
  const isMarked = error.fields?.length > 0 && others.length === 0;
  showNotes("page", isMarked ? [] : [{ text: error.message, isBad: true }]);
}

/** Errors in a whole body point to `/params/…`, errors of the pipeline into params. */
function inParams(field) {
  return { ...field, pointer: field.pointer.replace(/^\/params(?=\/)/, "") };
}

function watchSize(video, screenElement, label) {
  video.addEventListener("resize", () => { label.textContent = video.videoWidth ? `${video.videoWidth} × ${video.videoHeight}` : ""; });
  video.addEventListener("playing", () => screenElement.classList.add("live"));
}

async function copy(button) {
  const field = at(button.dataset.copy);
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Press Ctrl+C";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1600);
}

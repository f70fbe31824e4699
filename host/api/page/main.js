// The page: choose a pipeline, send a picture, watch what becomes of it, change it while it runs.

import * as api from "./api.js";
import { camera, screen, testClip } from "./clip.js";
import { Form } from "./form.js";
import { play, publish } from "./rtc.js";
import { showIdle, showNotes, showState, showStatus } from "./status.js";

const PATCH_DELAY_MS = 200;
const STATUS_EVERY_MS = 1000;
const RETRY_MS = 500;
const SOURCES = { clip: testClip, camera, screen };

const at = (id) => document.getElementById(id);
const form = new Form(at("params"), queue);

let pipelines = [];
/** The stream that runs: its view, sessions, source and timers. Null when idle. */
let running = null;

at("session").addEventListener("submit", (event) => { event.preventDefault(); start(); });
at("stop").addEventListener("click", () => stop());
at("pipeline").addEventListener("change", showModels);
at("model").addEventListener("change", showSchema);
at("prompt").addEventListener("input", () => queue("prompt", at("prompt").value));
at("token-form").addEventListener("submit", (event) => { event.preventDefault(); api.useToken(at("token").value); load(); });
for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => copy(button));
for (const [video, screenId, sizeId] of [["local", "local-screen", "local-size"], ["result", "result-screen", "result-size"]]) watchSize(at(video), at(screenId), at(sizeId));
addEventListener("pagehide", () => { if (running) api.removeOnLeave(running.stream.id); });
load();

// What can be chosen

async function load() {
  try {
    const { data } = await api.plugins();
    pipelines = data.pipelines;
    at("token-form").hidden = true;
    const refused = data.plugins.filter((plugin) => plugin.state === "refused");
    showNotes("plugins", refused.map(({ file, reason }) => ({ text: `Plugin ${file} was refused: ${reason}` })));
    const names = [...new Set(pipelines.map((offer) => offer.pipeline))];
    at("pipeline").replaceChildren(...names.map((name) => new Option(name)));
    at("start").disabled = names.length === 0;
    if (names.length === 0) showNotes("page", [{ text: "No pipeline is installed. Put a plugin into the server's plugins folder and load this page again.", isBad: true }]);
    showModels();
  } catch (error) {
    at("token-form").hidden = error.status !== 401;
    if (error.status !== 401) report(error);
  }
}

function showModels() {
  const offers = pipelines.filter((offer) => offer.pipeline === at("pipeline").value);
  const models = offers.flatMap((offer) => offer.models ?? []);
  at("model").replaceChildren(...models.map((model) => new Option(model)));
  at("model-field").hidden = models.length === 0;
  showSchema();
}

function offer() {
  const [name, model] = [at("pipeline").value, at("model").value];
  return pipelines.find((offer) => offer.pipeline === name && (!offer.models || offer.models.includes(model)));
}

function showSchema() {
  const schema = offer()?.params_schema ?? {};
  const count = form.show(schema);
  const prompt = schema.properties?.prompt;
  at("prompt-row").hidden = !prompt;
  if (prompt && typeof prompt.default === "string" && !at("prompt").value) at("prompt").value = prompt.default;
  at("params-note").textContent = count === 0 ? "this pipeline has none" : "";
}

// The stream

async function start() {
  setBusy(true);
  showNotes("page", []);
  const session = { pending: {}, timers: new Set() };
  try {
    session.source = await SOURCES[at("source").value]();
    at("local").srcObject = session.source.stream;
    showState("wait", "creating the stream");
    session.stream = await api.create(wish());
    running = session;
    showStream(session.stream);
    await sendTo(session);
    session.source.stream.getVideoTracks()[0].addEventListener("ended", () => { if (running === session) stop(); });
    watch(session);
    poll(session);
  } catch (error) {
    report(error);
    session.source?.end();
    await stop();
  }
}

function wish() {
  const params = form.changed();
  if (!at("model-field").hidden) params.model_id = at("model").value;
  if (!at("prompt-row").hidden && at("prompt").value) params.prompt = at("prompt").value;
  return { pipeline: at("pipeline").value, params };
}

async function sendTo(session) {
  session.publisher = await publish(session.stream.whip_url, session.source.stream, (state) => {
    if (state === "failed" && running === session) again(session, "sending", () => sendTo(session));
  });
}

/** Plays as soon as there is something to play, and again whenever the connection fails. */
async function watch(session) {
  const lost = (state) => {
    if (state === "failed" && running === session) again(session, "watching", () => watch(session));
  };
  try {
    const reader = await play(session.stream.output_stream_url, at("result"), lost);
    if (running !== session) return reader?.close();
    session.reader?.close();
    session.reader = reader;
    if (!reader) later(session, RETRY_MS, () => watch(session));
  } catch (error) {
    if (running !== session) return;
    report(error);
    later(session, 4 * RETRY_MS, () => watch(session));
  }
}

function again(session, what, attempt) {
  showNotes("page", [{ text: `The connection for ${what} was lost; trying again.` }]);
  later(session, 2 * RETRY_MS, () => attempt().then(() => showNotes("page", []), report));
}

async function poll(session) {
  try {
    const status = await api.status(session.stream.id);
    if (running !== session) return;
    showStatus(status);
  } catch (error) {
    if (running !== session) return;
    if (error.status === 404) return stop("the stream was deleted");
    showState("bad", error.message);
  }
  later(session, STATUS_EVERY_MS, () => poll(session));
}

async function stop(text) {
  const session = running;
  running = null;
  if (session) {
    for (const timer of session.timers) clearTimeout(timer);
    session.publisher?.close();
    session.reader?.close();
    session.source?.end();
    await api.remove(session.stream.id).catch((error) => { if (error.status !== 404) report(error); });
  }
  at("local").srcObject = at("result").srcObject = null;
  for (const id of ["local-screen", "result-screen"]) at(id).classList.remove("live");
  for (const id of ["local-size", "result-size"]) at(id).textContent = "";
  showIdle(text);
  showStream(null);
  setBusy(false);
}

// Changes while it runs

/** Collects edits of a short while into one request; the newest value of each param wins. It does not wait for a pause:
 *  the picture follows while one still types or drags. */
function queue(name, value) {
  const session = running;
  if (!session) return;
  session.pending[name] = value;
  session.patchTimer ??= later(session, PATCH_DELAY_MS, () => { session.patchTimer = null; apply(session); });
}

async function apply(session) {
  if (session.isApplying || Object.keys(session.pending).length === 0) return;
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
  for (const id of ["start", "pipeline", "model", "source"]) at(id).disabled = isBusy;
  at("stop").disabled = !isBusy;
  (isBusy ? at("stop") : at("start")).focus({ preventScroll: true });
}

function showStream(stream) {
  at("whip-url").value = stream?.whip_url ?? "";
  at("whep-url").value = stream?.output_stream_url ?? "";
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

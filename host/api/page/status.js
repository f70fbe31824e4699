// The status line, the notes below it and the loading bar.

const at = (id) => document.getElementById(id);

const WORDS = {
  LOADING: ["wait", "loading the pipeline"],
  ONLINE: ["ok", "running"],
  DEGRADED_INPUT: ["wait", "running, little input"],
  DEGRADED_INFERENCE: ["wait", "running, behind the input"],
  ERROR: ["bad", "the pipeline failed"],
  OFFLINE: ["wait", "ready, waiting for input"],
};

export function showState(kind, text) {
  at("status").dataset.state = kind;
  // The line is read out when it changes, so it is left alone when it does not.
  if (at("state").textContent !== text) at("state").textContent = text;
}

/** What GET /v1/streams/{id}/status said. */
export function showStatus(status) {
  const [kind, text] = WORDS[status.data.state] ?? ["wait", status.data.state];
  showState(kind, text);
  const host = status.data.host_status;
  const inference = status.data.inference_status;
  at("figures").textContent = [
    `${inference.input_fps.toFixed(1)} fps in`,
    `${inference.output_fps.toFixed(1)} fps out`,
    status.latency_ms === null ? "" : `${Math.round(status.latency_ms)} ms behind`,
    dropped(host) ? `${dropped(host)} dropped` : "",
    host.egress.readers === 1 ? "1 viewer" : `${host.egress.readers} viewers`,
  ].filter(Boolean).join(" · ");
  showLoading(status.data.state === "LOADING" ? progressOf(host) : null);
  showNotes("server", [...errorNotes(status), ...warningNotes(status)]);
}

/** An error that passed is told with its time. */
function errorNotes(status) {
  if (status.error) return [{ text: status.error, isBad: true }];
  const last = status.data.host_status.last_error;
  return last ? [{ text: `At ${new Date(last.time).toLocaleTimeString()}: ${last.message}` }] : [];
}

/** A warning of what then came true says nothing new. */
function warningNotes(status) {
  const isNews = (text) => !status.error || !text.includes(status.error);
  return status.warnings.filter(isNews).map((text) => ({ text }));
}

/** Behind the decoder, before or at the pipeline, or before the encoder: what was in place of them was newer. */
function dropped({ frames, egress }) {
  return frames.dropped + egress.frames_dropped;
}

export function showIdle(text = "not streaming") {
  showState("idle", text);
  at("figures").textContent = "";
  showLoading(null);
  showNotes("server", []);
}

/** Notes come from several places; each replaces only its own. Errors stand below the pictures, warnings beside them. */
export function showNotes(source, notes) {
  replaceNotes(at("errors"), source, notes.filter((note) => note.isBad));
  replaceNotes(at("warnings"), source, notes.filter((note) => !note.isBad));
}

function replaceNotes(list, source, notes) {
  const known = [...list.children].filter((item) => item.dataset.source === source);
  const shown = known.map((item) => item.textContent).join("\n");
  if (shown === notes.map((note) => note.text).join("\n")) return;
  for (const item of known) item.remove();
  for (const { text } of notes) {
    const item = Object.assign(document.createElement("li"), { textContent: text });
    item.dataset.source = source;
    list.append(item);
  }
}

/** What is under way; of a fetch, how many bytes. */
function progressOf({ fetching, loading }) {
  if (!fetching) return loading;
  const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
  const { model, what, bytes_done: done, bytes_total: total } = fetching;
  const bytes = total === null ? "" : `, ${megabytes(done)} of ${megabytes(total)} MB`;
  return { what: `fetching ${model}${bytes}: ${what}`, fraction: total === null ? 0 : done / total };
}

function showLoading(progress) {
  at("loading").hidden = !progress;
  if (!progress) return;
  at("loading-text").textContent = progress.what;
  at("loading-bar").value = progress.fraction;
}

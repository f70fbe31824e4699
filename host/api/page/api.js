// The REST calls the page makes. Paths are relative, so that a prefix in front of the server does no harm.

const TOKEN_KEY = "streamdiffusion-host token";

/** What the server answered when it refused. */
export class Refusal extends Error {
  constructor(status, body) {
    super(body?.error ?? `the server answered ${status}`);
    this.status = status;
    this.fields = Array.isArray(body?.details) ? body.details : [];
  }
}

/** Kept for this tab only. */
export function useToken(token) {
  sessionStorage.setItem(TOKEN_KEY, token);
}

export const plugins = () => call("GET", "v1/plugins");
export const create = (wish) => call("POST", "v1/streams", wish);
/** What would be created. */
export const plan = (wish) => call("POST", "v1/streams?plan=true", wish);
export const change = (id, params) => call("PATCH", `v1/streams/${id}`, { params });
export const status = (id) => call("GET", `v1/streams/${id}/status`);
export const remove = (id) => call("DELETE", `v1/streams?id=${encodeURIComponent(id)}`);

/** Also while the page goes away, when nobody can wait for the answer. */
export function removeOnLeave(id) {
  const path = `v1/streams?id=${encodeURIComponent(id)}`;
  fetch(path, { method: "DELETE", headers: headers(), keepalive: true }).catch(() => {});
}

async function call(method, path, body) {
  const request = { method, headers: headers() };
  if (body !== undefined) {
    request.headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, request);
  } catch {
    throw new Refusal(0, { error: "the server does not answer" });
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new Refusal(response.status, answer);
  return answer;
}

function headers() {
  const token = sessionStorage.getItem(TOKEN_KEY);
  const common = { Accept: "application/json" };
  return token ? { ...common, Authorization: `Bearer ${token}` } : common;
}

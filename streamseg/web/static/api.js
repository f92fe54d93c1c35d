// Requests to the HTTP API. Each one ends within 20 s.

const TIMEOUT_MS = 20000;

/** A failed request; `message` says how to fix it. */
export class ApiError extends Error {
  constructor(code, message, retryable = false) {
    super(message);
    this.code = code;
    this.retryable = retryable;
  }
}

async function send(method, path, body) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "TimeoutError") throw new ApiError("TIMEOUT", "No response within 20 s: try again.", true);
    throw new ApiError("UNREACHABLE", "The daemon is unreachable. Is it running? The page reconnects by itself.", true);
  }
  if (response.status === 401) location.assign("login");
  const text = await response.text();
  if (response.ok) return text ? JSON.parse(text) : null;
  let error = { code: `HTTP ${response.status}`, message: response.statusText, retryable: response.status >= 500 };
  try { error = JSON.parse(text).error; } catch { /* the response of a proxy */ }
  throw new ApiError(error.code, error.message, error.retryable);
}

const streamPath = (stream) => `v1/streams/${encodeURIComponent(stream)}`;

export const api = {
  streams: () => send("GET", "v1/streams"),
  prompt: (stream, prompt) => send("POST", `${streamPath(stream)}/prompts`, prompt),
  rename: (stream, object, label) => send("PATCH", `${streamPath(stream)}/objects/${object}`, { label }),
  remove: (stream, object) => send("DELETE", `${streamPath(stream)}/objects/${object}`),
  undo: (stream) => send("POST", `${streamPath(stream)}/undo`),
  reset: (stream) => send("POST", `${streamPath(stream)}/reset`),
  pause: (stream) => send("POST", `${streamPath(stream)}/pause`),
  resume: (stream) => send("POST", `${streamPath(stream)}/resume`),
};

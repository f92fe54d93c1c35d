// What a person wants, as requests to the HTTP interface. Every one ends within 20 s.

const MAX_MS = 20000;

/** A request that was not done; `message` holds the mend. */
export class ApiError extends Error {
  constructor(code, message, retryable = false) {
    super(message);
    this.code = code;
    this.retryable = retryable;
  }
}

async function ask(method, path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(MAX_MS),
      cache: "no-store",
    });
  } catch (error) {
    const late = error.name === "TimeoutError";
    throw new ApiError(late ? "TIMEOUT" : "UNREACHABLE", late
      ? "No answer came within 20 s: try again."
      : "The daemon cannot be reached: is it running? The page connects again by itself.", true);
  }
  if (answer.status === 401) location.assign("/login");
  const text = await answer.text();
  if (answer.ok) return text ? JSON.parse(text) : null;
  let error = { code: `HTTP ${answer.status}`, message: answer.statusText, retryable: answer.status >= 500 };
  try { error = JSON.parse(text).error; } catch { /* not ours: what HTTP says has to do */ }
  throw new ApiError(error.code, error.message, error.retryable);
}

const stream = (id) => `/v1/streams/${encodeURIComponent(id)}`;

export const api = {
  streams: () => ask("GET", "/v1/streams"),
  prompt: (id, prompt) => ask("POST", `${stream(id)}/prompts`, prompt),
  rename: (id, object, label) => ask("PATCH", `${stream(id)}/objects/${object}`, { label }),
  remove: (id, object) => ask("DELETE", `${stream(id)}/objects/${object}`),
  undo: (id, object) => ask("POST", `${stream(id)}/objects/${object}/undo`),
  reset: (id) => ask("POST", `${stream(id)}/reset`),
  pause: (id) => ask("POST", `${stream(id)}/pause`),
  resume: (id) => ask("POST", `${stream(id)}/resume`),
};

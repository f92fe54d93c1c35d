// Requests to the HTTP API. Each one ends within 20 s, a test of a camera within 40 s.

const TIMEOUT_MS = 20000;
const PROBE_TIMEOUT_MS = 40000;

/** A failed request; `message` says how to fix it. */
export class ApiError extends Error {
	constructor(code, message, retryable = false) {
		super(message);
		this.code = code;
		this.retryable = retryable;
	}
}

async function send(method, path, body, timeoutMs = TIMEOUT_MS) {
	let response;
	try {
		response = await fetch(path, {
			method,
			headers: body === undefined ? {} : { "Content-Type": "application/json" },
			body: body === undefined ? undefined : JSON.stringify(body),
			signal: AbortSignal.timeout(timeoutMs),
			cache: "no-store",
		});
	} catch (error) {
		if (error.name === "TimeoutError") throw new ApiError("TIMEOUT", `No response within ${timeoutMs / 1000} s: try again.`, true);
		throw new ApiError("UNREACHABLE", "The daemon is unreachable. Is it running? The page reconnects by itself.", true);
	}
	if ([401, 429].includes(response.status)) location.assign("login");
	const text = await response.text();
	if (response.ok) return response.headers.get("Content-Type")?.startsWith("application/json") ? JSON.parse(text) : text;
	let error = { code: `HTTP ${response.status}`, message: response.statusText, retryable: response.status >= 500 };
	try { error = JSON.parse(text).error; } catch { /* the response of a proxy */ }
	throw new ApiError(error.code, error.message, error.retryable);
}

const streamPath = (stream) => `v1/streams/${encodeURIComponent(stream)}`;

export const api = {
	probe: (source) => send("POST", "v1/sources/probe", source, PROBE_TIMEOUT_MS),
	addStream: (stream, settings) => send("POST", streamPath(stream), settings),
	removeStream: (stream) => send("DELETE", streamPath(stream)),
	streams: () => send("GET", "v1/streams"),
	prompt: (stream, prompt) => send("POST", `${streamPath(stream)}/prompts`, prompt),
	rename: (stream, object, label) => send("PATCH", `${streamPath(stream)}/objects/${object}`, { label }),
	remove: (stream, object) => send("DELETE", `${streamPath(stream)}/objects/${object}`),
	undo: (stream) => send("POST", `${streamPath(stream)}/undo`),
	redo: (stream) => send("POST", `${streamPath(stream)}/redo`),
	settings: (stream) => send("GET", `${streamPath(stream)}/settings`),
	changeSettings: (stream, settings) => send("PATCH", `${streamPath(stream)}/settings`, settings),
	reset: (stream) => send("POST", `${streamPath(stream)}/reset`),
	program: (stream, language) => send("GET", `${streamPath(stream)}/subscriber.${language}`),
	setFind: (stream, enabled) => send("POST", `${streamPath(stream)}/find`, { enabled }),
	clip: (stream) => send("POST", `${streamPath(stream)}/clips?wait=true`, {}, 4e5),
	pause: (stream) => send("POST", `${streamPath(stream)}/pause`),
	resume: (stream) => send("POST", `${streamPath(stream)}/resume`),
};

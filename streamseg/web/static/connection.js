// The WebSocket: pictures, status and events come, acknowledgments of pictures go.

import { parseFrameMessage } from "./frame_message.js";

const MIN_RETRY_MS = 250;
const MAX_RETRY_MS = 5000;
const CONNECT_TIMEOUT_MS = 5000;
const SILENCE_MS = 3500;

export class Connection {
	/**
	 * @param handlers `onFrame(frame)`, whose promise resolves when the frame is on the screen; `onDaemon`, `onStatus`,
	 *   `onEvent` with messages of the daemon; `onState(state, reason)`.
	 */
	constructor(handlers) {
		this.handlers = handlers;
		this.request = null;
		this.socket = null;
		this.retryMs = MIN_RETRY_MS;
		this.lastMessageAt = 0;
		this.timer = null;
		this.state = "connecting";
		// A hidden page needs no pictures, so none are encoded or sent for it.
		document.addEventListener("visibilitychange", () => document.hidden ? this.disconnect() : this.connect());
		setInterval(() => this.checkSilence(), 1000);
		this.connect();
	}

	/** Ask for pictures: `stream` is shown large, those of `grid` side by side. */
	watch(stream, grid = []) {
		this.request = { type: "watch", stream, grid };
		this.send(this.request);
	}

	send(message) {
		if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
	}

	connect() {
		clearTimeout(this.timer);
		if (this.socket) return;
		const address = new URL("v1/live", location.href);
		address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
		const socket = new WebSocket(address);
		socket.binaryType = "arraybuffer";
		this.socket = socket;
		this.timer = setTimeout(() => socket.close(), CONNECT_TIMEOUT_MS);
		socket.onopen = () => {
			clearTimeout(this.timer);
			this.lastMessageAt = performance.now();
			if (this.request !== null) this.send(this.request);
		};
		socket.onmessage = ({ data }) => this.socket === socket && this.onMessage(socket, data);
		socket.onclose = ({ reason }) => this.socket === socket && this.onClose(reason);
	}

	disconnect() {
		clearTimeout(this.timer);
		const socket = this.socket;
		this.socket = null;
		socket?.close();
	}

	onClose(reason) {
		this.disconnect();
		this.setState("lost", reason);
		if (!document.hidden) this.timer = setTimeout(() => this.connect(), this.retryMs);
		this.retryMs = Math.min(MAX_RETRY_MS, this.retryMs * 1.6);
	}

	setState(state, reason = "") {
		this.state = state;
		this.handlers.onState(state, reason);
	}

	async onMessage(socket, data) {
		if (typeof data === "string") {
			this.onText(JSON.parse(data));
			return;
		}
		const frame = parseFrameMessage(data);
		try {
			await this.handlers.onFrame(frame);
		} finally {
			if (this.socket === socket) this.send({ type: "ack", n: frame.header.n });
		}
	}

	onText(message) {
		this.lastMessageAt = performance.now();
		this.retryMs = MIN_RETRY_MS;
		if (this.state !== "live") this.setState("live");
		if (message.type === "daemon") this.handlers.onDaemon(message.daemon, message.streams);
		else if (message.type === "status") this.handlers.onStatus({ ...message.status, health: message.health });
		else if (message.type === "event") this.handlers.onEvent({ ...message.event, ...message.words });
	}

	checkSilence() {
		if (this.state === "live" && this.socket && performance.now() - this.lastMessageAt > SILENCE_MS) this.setState("silent");
	}
}

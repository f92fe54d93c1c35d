// The WebSocket: pictures, states and events in; which stream is watched, and "it is on the screen", out.

import { parseFrame } from "./frame.js";

const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 5000;
const CONNECT_MS = 5000;
const SILENT_MS = 3500;

export class Live {
  /**
   * @param handlers `onFrame(frame)`, whose promise resolves when the frame is on the screen; `onDaemon`, `onStatus`,
   *   `onEvent` with what the daemon says; `onConnection(state, reason)`.
   */
  constructor(handlers) {
    this.handlers = handlers;
    this.stream = null;
    this.socket = null;
    this.retryMs = FIRST_RETRY_MS;
    this.heardAt = 0;
    this.timer = null;
    this.state = "waiting";
    // A page that nobody sees costs nothing: neither JPEG nor network.
    document.addEventListener("visibilitychange", () => document.hidden ? this.leave() : this.connect());
    setInterval(() => this.checkSilence(), 1000);
    this.connect();
  }

  watch(stream) {
    this.stream = stream;
    this.tell({ type: "watch", stream });
  }

  tell(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  connect() {
    clearTimeout(this.timer);
    if (this.socket) return;
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/live`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.timer = setTimeout(() => socket.close(), CONNECT_MS);
    socket.onopen = () => {
      clearTimeout(this.timer);
      this.heardAt = performance.now();
      if (this.stream !== null) this.watch(this.stream);
    };
    socket.onmessage = ({ data }) => this.socket === socket && this.take(socket, data);
    socket.onclose = ({ reason }) => this.socket === socket && this.lost(reason);
  }

  leave() {
    clearTimeout(this.timer);
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }

  lost(reason) {
    this.leave();
    this.become("down", reason);
    if (!document.hidden) this.timer = setTimeout(() => this.connect(), this.retryMs);
    this.retryMs = Math.min(LAST_RETRY_MS, this.retryMs * 1.6);
  }

  become(state, reason = "") {
    this.state = state;
    this.handlers.onConnection(state, reason);
  }

  async take(socket, data) {
    if (typeof data === "string") {
      this.takeText(JSON.parse(data));
      return;
    }
    const frame = parseFrame(data);
    try {
      await this.handlers.onFrame(frame);
    } finally {
      if (this.socket === socket) this.tell({ type: "ack", n: frame.header.n });
    }
  }

  takeText(message) {
    this.heardAt = performance.now();
    this.retryMs = FIRST_RETRY_MS;
    if (this.state !== "up") this.become("up");
    if (message.type === "daemon") this.handlers.onDaemon(message.daemon, message.streams);
    else if (message.type === "status") this.handlers.onStatus(message.status);
    else if (message.type === "event") this.handlers.onEvent(message.event);
  }

  checkSilence() {
    if (this.state === "up" && this.socket && performance.now() - this.heardAt > SILENT_MS) this.become("silent");
  }
}

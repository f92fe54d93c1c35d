// Save what is seen: a picture as PNG, or a recording as WebM. Both are made by the browser.

import { find, make } from "./dom.js";
import { copyScaled } from "./effects.js";
import { pixelAspect } from "./frame_message.js";
import { showError } from "./notifications.js";
import { store, update } from "./store.js";

const FPS = 30;
const MAX_RECORDING_MS = 10 * 60 * 1000;
const picture = find("#picture");
let recorder = null;

function save(blob, extension) {
  const time = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
  const link = make("a", { href: URL.createObjectURL(blob), download: `${store.stream}-${time}.${extension}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** Save the picture with its masks as it is shown, at its own size, undistorted. */
export function saveSnapshot() {
  if (!store.frame) return;
  const aspect = pixelAspect(store.frame);
  const shown = aspect === 1 ? picture : make("canvas");
  if (shown !== picture) copyScaled(picture, shown, Math.round(picture.width * aspect), picture.height);
  shown.toBlob((blob) => save(blob, "png"), "image/png");
}

/** Start a recording, or stop it and save it. */
export function toggleRecording() {
  if (recorder) {
    recorder.stop();
    return;
  }
  if (!store.frame) return;
  if (!picture.captureStream || !window.MediaRecorder) {
    showError({ message: "This browser cannot record a canvas: use Chrome, Edge or Firefox.", code: "NOT_SUPPORTED" });
    return;
  }
  const stream = picture.captureStream(FPS);
  const parts = [];
  recorder = new MediaRecorder(stream, { mimeType: "video/webm", videoBitsPerSecond: 8e6 });
  recorder.ondataavailable = ({ data }) => parts.push(data);
  const timer = setTimeout(() => recorder?.stop(), MAX_RECORDING_MS);
  recorder.onstop = () => {
    clearTimeout(timer);
    recorder = null;
    for (const track of stream.getTracks()) track.stop();
    save(new Blob(parts, { type: "video/webm" }), "webm");
    update({ recording: false });
  };
  recorder.start(1000);
  update({ recording: true });
}

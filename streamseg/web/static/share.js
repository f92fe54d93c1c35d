// The dialog with the address of this view and code that subscribes to the stream.

import { find, setText } from "./dom.js";
import { store } from "./store.js";

const dialog = find("#share");

function subscriberCode() {
  return `from streamseg.client import Subscriber

with Subscriber(streams=[${JSON.stringify(store.stream ?? "")}]) as subscriber:
    for frame in subscriber:
        for obj in frame.objects:
            print(frame.frame, obj.id, obj.label, obj.state, obj.bbox, obj.mask.sum())
`;
}

async function copy(button, source) {
  let done = false;
  try {
    await navigator.clipboard.writeText(source.textContent);
    done = true;
  } catch { /* without HTTPS the clipboard is not available: the text is selected instead */
    getSelection().selectAllChildren(source);
  }
  setText(button, done ? "Copied" : "Selected: press Ctrl C");
  setTimeout(() => setText(button, "Copy"), 2500);
}

export function showShare() {
  setText(find("#share-link"), location.href);
  setText(find("#share-code"), subscriberCode());
  dialog.showModal();
}

export function initShare() {
  for (const button of dialog.querySelectorAll("button[data-copy]")) {
    button.onclick = () => copy(button, find(`#${button.dataset.copy}`));
  }
}

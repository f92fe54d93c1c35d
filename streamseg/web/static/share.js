// The dialog with the address of this view and code that subscribes to the stream.

import { find, setText } from "./dom.js";
import { store } from "./store.js";

const dialog = find("#share");

const SUBSCRIBERS = {
  python: (stream) => `from streamseg.client import Subscriber

with Subscriber(streams=[${stream}]) as subscriber:
    for frame in subscriber:
        for obj in frame.objects:
            print(frame.frame, obj.id, obj.label, obj.state, obj.bbox, obj.mask.sum())
`,
  cpp: (stream) => `// clients/cpp/README.md: g++ -std=c++17 -O2 -I clients/cpp program.cpp -lzmq
#include <iostream>
#include "streamseg.hpp"

int main() {
    streamseg::Subscriber subscriber("tcp://127.0.0.1:5555", {${stream}});
    while (auto message = subscriber.receive(std::chrono::seconds(30)))
        for (const auto& object : message->objects())
            std::cout << message->frame() << ' ' << object.id << ' ' << object.label << ' ' << object.area << '\\n';
}
`,
  node: (stream) => `// npm install clients/node
import { Subscriber, maskOf } from "streamseg";

for await (const message of new Subscriber("tcp://127.0.0.1:5555", { streams: [${stream}] })) {
  for (const object of message.header.objects) {
    console.log(message.header.frame, object.id, object.label, object.area, maskOf(message, object).length);
  }
}
`,
};

function showCode() {
  setText(find("#share-code"), SUBSCRIBERS[find("#share-language").value](JSON.stringify(store.stream ?? "")));
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
  showCode();
  dialog.showModal();
}

export function initShare() {
  find("#share-language").onchange = showCode;
  for (const button of dialog.querySelectorAll("button[data-copy]")) {
    button.onclick = () => copy(button, find(`#${button.dataset.copy}`));
  }
}

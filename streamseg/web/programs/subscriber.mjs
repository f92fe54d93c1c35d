// Receive the masks of a stream: npm install clients/node
import { Subscriber, maskOf } from "streamseg";

for await (const message of new Subscriber("tcp://127.0.0.1:5555", { streams: ["cam"] })) {
  for (const object of message.header.objects) {
    console.log(message.header.frame, object.id, object.label, object.area, maskOf(message, object).length);
  }
}

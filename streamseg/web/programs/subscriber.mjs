// Receive the masks of a stream. Beside this program: npm install "$(npm pack -s CLONE/clients/node)"
//
// The daemon asks for a key. On its machine run
//     streamseg keys authorize NAME
// and copy the file that it writes, NAME.key_secret, beside this program.
import { Subscriber, loadKeys, maskOf } from "streamseg";

const keys = loadKeys("NAME.key_secret");
for await (const message of new Subscriber("tcp://127.0.0.1:5555", { streams: ["cam"], keys })) {
  for (const object of message.header.objects) {
    console.log(message.header.frame, object.id, object.label, object.area, maskOf(message, object).length);
  }
}

"""Receive the masks of a stream.

The daemon asks for a key. On its machine run

    streamseg keys authorize NAME

and copy the file that it writes, NAME.key_secret, beside this program.
"""

from streamseg.client import Subscriber

with Subscriber("tcp://127.0.0.1:5555", streams=["cam"], key_file="NAME.key_secret", timeout_s=30) as subscriber:
    for frame in subscriber:
        for obj in frame.objects:
            print(frame.frame, obj.id, obj.label, obj.state, obj.bbox, obj.mask.sum(), flush=True)

"""Print where each object is, frame by frame.

Start a daemon (`streamseg demo`, or `streamseg run` with a camera), then:

    python examples/subscribe.py [ENDPOINT [KEY_FILE]]
"""

import sys

from streamseg.client import Subscriber

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5555"
key = sys.argv[2] if len(sys.argv) > 2 else None  # of this program, if the daemon asks for one

with Subscriber(endpoint, key_file=key) as subscriber:
    for frame in subscriber:  # waits for frames, also while the daemon restarts; end it with Ctrl-C
        for obj in frame.objects:
            mask = obj.mask  # bool [height, width] of the whole frame, decoded when first read
            x, y, width, height = obj.bbox
            print(
                f"{frame.stream} frame {frame.frame}: {obj.label or obj.id} is {obj.state}, "
                f"{mask.sum()} of {mask.size} pixels, {width}x{height} at {x},{y}",
                flush=True,
            )

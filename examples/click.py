"""Track the object at one point of a stream, then print what became of it.

The point is a share of the picture: 0.5 0.5 is its center.

    python examples/click.py STREAM X Y [--label NAME] [--key FILE]
"""

import argparse

from streamseg.client import Controller, Subscriber

parser = argparse.ArgumentParser()
parser.add_argument("stream")
parser.add_argument("x", type=float)
parser.add_argument("y", type=float)
parser.add_argument("--label", default="")
parser.add_argument("--endpoint", default="tcp://127.0.0.1:5555", help="where the daemon publishes")
parser.add_argument("--control", help="where the daemon takes requests (default: this user's daemon)")
parser.add_argument("--key", help="key file, if the daemon asks for one")
args = parser.parse_args()

with (
    Controller(args.control, key_file=args.key) as control,
    Subscriber(args.endpoint, streams=[args.stream], kinds=["objects"], key_file=args.key) as frames,
):
    seen = frames.receive()
    # A click belongs to the frame on which it was made: by the time it arrives, the object may have moved on.
    clicked = control.add_prompt(
        args.stream, points=[(args.x, args.y)], label=args.label, frame=seen.frame, on_expired="newest"
    )
    print(f"object {clicked.object_id}: {clicked.area} pixels on frame {clicked.frame}, score {clicked.score:.2f}")
    for frame in frames:
        tracked = [obj for obj in frame.objects if obj.id == clicked.object_id]
        if frame.frame > clicked.newest and tracked:
            print(f"frame {frame.frame}: {tracked[0].state} at {tracked[0].bbox}")
            break

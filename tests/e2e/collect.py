"""A subscriber in its own process: writes a JSON line per message to a file, and the masks beside it.

Run as ``python collect.py ENDPOINT OUT COUNT [KIND ...]``; with the kind ``image`` it pairs pictures with masks.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from streamseg.client import PairedSubscriber, Subscriber
from streamseg.sources.scene.code import read_frame_code

FIELDS = (
    *("stream", "session", "epoch", "seq", "frame", "t_wall_ns", "t_source", "t_captured_ns", "t_decoded_ns"),
    *("t_tracked_ns", "t_published_ns", "pts", "size", "gap", "skipped", "dropped", "age_ms"),
)


def main() -> None:
    endpoint, out, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    paired = sys.argv[4:] == ["image"]
    lines, arrays = [], {}
    subscriber = PairedSubscriber(endpoint) if paired else Subscriber(endpoint, mode="all")
    with subscriber:
        while len(lines) < count:
            message = subscriber.receive(timeout_s=60)
            masks = message.masks if paired else message
            line = {name: getattr(masks, name) for name in FIELDS}
            line["objects"] = [{"id": obj.id, "state": obj.state, "bbox": obj.bbox} for obj in masks.objects]
            if paired:
                line["code"] = read_frame_code(message.image.rgb)
            for obj in masks.objects:
                arrays[f"{len(lines)}/{obj.id}"] = np.packbits(obj.mask)
            lines.append(line)
    np.savez(out.with_suffix(".npz"), **arrays)
    out.write_text("\n".join(map(json.dumps, lines)))


if __name__ == "__main__":
    main()

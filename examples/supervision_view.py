"""Hand masks to the `supervision` package, here to draw them and label them.

pip install supervision
python examples/supervision_view.py [ENDPOINT] --out view.png
"""

import argparse

import cv2
import numpy as np
import supervision as sv

from streamseg.client import MaskFrame, PairedSubscriber


def detections(frame: MaskFrame) -> sv.Detections:
    """Return the visible objects of a frame; object ids become tracker ids."""
    objects = [obj for obj in frame.objects if obj.area]
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in (obj.bbox for obj in objects)], float)
    return sv.Detections(
        xyxy=boxes.reshape(-1, 4),
        mask=np.array([obj.mask for obj in objects]).reshape(-1, *frame.size[::-1]),
        confidence=np.array([obj.score for obj in objects]),
        tracker_id=np.array([obj.id for obj in objects], int),
        data={"label": np.array([obj.label or str(obj.id) for obj in objects])},
    )


parser = argparse.ArgumentParser()
parser.add_argument("endpoint", nargs="?", default="tcp://127.0.0.1:5555")
parser.add_argument("--out", default="view.png", help="file for the picture")
args = parser.parse_args()

with PairedSubscriber(args.endpoint) as pairs:
    pair = pairs.receive()
found = detections(pair.masks)
picture = cv2.cvtColor(pair.image.rgb, cv2.COLOR_RGB2BGR)
picture = sv.MaskAnnotator(color_lookup=sv.ColorLookup.TRACK).annotate(picture, found)
picture = sv.LabelAnnotator(color_lookup=sv.ColorLookup.TRACK).annotate(
    picture, found, labels=list(found.data["label"])
)
cv2.imwrite(args.out, picture)
print(f"{len(found)} objects of {pair.stream} frame {pair.frame} in {args.out}")

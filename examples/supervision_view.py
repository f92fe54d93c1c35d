"""Hand masks to the `supervision` package, here to draw them and label them.

pip install supervision
python examples/supervision_view.py [ENDPOINT] --out view.png
"""

import argparse

import cv2
import supervision as sv

from streamseg.client import PairedSubscriber

parser = argparse.ArgumentParser()
parser.add_argument("endpoint", nargs="?", default="tcp://127.0.0.1:5555")
parser.add_argument("--out", default="view.png", help="file for the picture")
parser.add_argument("--key", help="key file, if the daemon asks for one")
args = parser.parse_args()

with PairedSubscriber(args.endpoint, key_file=args.key) as pairs:
    pair = pairs.receive()
found = pair.masks.to_supervision()
picture = cv2.cvtColor(pair.image.rgb, cv2.COLOR_RGB2BGR)
picture = sv.MaskAnnotator(color_lookup=sv.ColorLookup.TRACK).annotate(picture, found)
picture = sv.LabelAnnotator(color_lookup=sv.ColorLookup.TRACK).annotate(
    picture, found, labels=list(found["class_name"])
)
cv2.imwrite(args.out, picture)
print(f"{len(found)} objects of {pair.stream} frame {pair.frame} in {args.out}")

"""Draw masks over the picture of the same frame with OpenCV.

python examples/opencv_view.py [ENDPOINT]                  # a window, until q; needs the package opencv-python
python examples/opencv_view.py [ENDPOINT] --out view.png   # one picture, also without a display
"""

import argparse

import cv2
import numpy as np

from streamseg.client import FramePair, PairedSubscriber


def draw(pair: FramePair) -> np.ndarray:
    """Return the picture, BGR, with each mask tinted and each object named."""
    picture = cv2.cvtColor(pair.image.rgb, cv2.COLOR_RGB2BGR)
    for obj in pair.masks.objects:
        color = np.array([(37 * obj.id + 60) % 256, (97 * obj.id + 160) % 256, 255], np.uint8)
        picture[obj.mask] = picture[obj.mask] // 2 + color // 2
        x, y, _, _ = obj.bbox
        cv2.putText(picture, obj.label or str(obj.id), (x, y + 14), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255))
    return picture


parser = argparse.ArgumentParser()
parser.add_argument("endpoint", nargs="?", default="tcp://127.0.0.1:5555")
parser.add_argument("--out", help="write one picture to this file instead of opening a window")
parser.add_argument("--key", help="key file, if the daemon asks for one")
args = parser.parse_args()

with PairedSubscriber(args.endpoint, key_file=args.key) as pairs:
    for pair in pairs:
        if args.out:
            cv2.imwrite(args.out, draw(pair))
            break
        cv2.imshow("streamseg", draw(pair))
        if cv2.waitKey(1) == ord("q"):
            break

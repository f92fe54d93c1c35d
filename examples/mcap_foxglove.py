"""Write pictures, masks and outlines to an MCAP file with Foxglove's schemas.

    pip install foxglove-sdk opencv-python-headless
    python examples/mcap_foxglove.py [ENDPOINT] --out masks.mcap --frames 100

Foxglove shows the file in an Image panel: the picture, and the masks and outlines over it. (`streamseg record` writes
MCAP, too, with streamseg's own messages: for replay and export.)
"""

import argparse

import cv2
import foxglove
from foxglove.channels import CompressedImageChannel, ImageAnnotationsChannel, RawImageChannel
from foxglove.messages import (
    Color,
    CompressedImage,
    ImageAnnotations,
    Point2,
    PointsAnnotation,
    PointsAnnotationType,
    RawImage,
    TextAnnotation,
    Timestamp,
)

from streamseg.client import MaskFrame, PairedSubscriber
from streamseg.protocol.palette import color_of


def outlines(frame: MaskFrame, time: Timestamp) -> ImageAnnotations:
    """Return the outlines and names of the visible objects."""
    loops, names = [], []
    for obj in frame.objects:
        red, green, blue = (channel / 255 for channel in color_of(obj.id))
        color = Color(r=red, g=green, b=blue, a=1.0)
        x, y, _, _ = obj.roi
        found, _ = cv2.findContours(obj.crop.astype("uint8"), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        for contour in found:
            points = [Point2(x=float(x + column), y=float(y + row)) for column, row in contour[:, 0]]
            kind = PointsAnnotationType.LineLoop
            loops.append(PointsAnnotation(timestamp=time, type=kind, points=points, outline_color=color, thickness=2))
        if found:
            at = Point2(x=float(obj.bbox[0]), y=float(obj.bbox[1]))
            text = obj.label or str(obj.id)
            names.append(TextAnnotation(timestamp=time, position=at, text=text, font_size=14, text_color=color))
    return ImageAnnotations(timestamp=time, points=loops, texts=names)


parser = argparse.ArgumentParser()
parser.add_argument("endpoint", nargs="?", default="tcp://127.0.0.1:5555")
parser.add_argument("--out", default="masks.mcap", help="file to write")
parser.add_argument("--frames", type=int, default=100)
parser.add_argument("--key", help="key file, if the daemon asks for one")
args = parser.parse_args()

channels = {}
with foxglove.open_mcap(args.out, allow_overwrite=True), PairedSubscriber(args.endpoint, key_file=args.key) as pairs:
    for _ in range(args.frames):
        pair = pairs.receive()
        stream, frame = pair.stream, pair.masks
        if stream not in channels:
            channels[stream] = (
                CompressedImageChannel(f"/{stream}/picture"),
                RawImageChannel(f"/{stream}/labels"),
                ImageAnnotationsChannel(f"/{stream}/outlines"),
            )
        pictures, labels, annotations = channels[stream]
        time = Timestamp(*divmod(frame.t_wall_ns, 1_000_000_000))  # the camera's
        width, height = frame.size
        picture = CompressedImage(timestamp=time, frame_id=stream, data=pair.image.jpeg, format="jpeg")
        pictures.log(picture, log_time=frame.t_wall_ns)
        values = frame.label_map().astype("<u2").tobytes()  # ids up to 65535
        image = RawImage(
            timestamp=time, frame_id=stream, width=width, height=height, encoding="mono16", step=2 * width, data=values
        )
        labels.log(image, log_time=frame.t_wall_ns)
        annotations.log(outlines(frame, time), log_time=frame.t_wall_ns)
print(f"{args.frames} frames in {args.out}")

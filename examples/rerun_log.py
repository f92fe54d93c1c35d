"""Log pictures and masks to a Rerun file.

pip install rerun-sdk
python examples/rerun_log.py [ENDPOINT] --out masks.rrd --frames 100
rerun masks.rrd
"""

import argparse

import numpy as np
import rerun as rr

from streamseg.client import PairedSubscriber

parser = argparse.ArgumentParser()
parser.add_argument("endpoint", nargs="?", default="tcp://127.0.0.1:5555")
parser.add_argument("--out", default="masks.rrd", help="file to write")
parser.add_argument("--frames", type=int, default=100)
parser.add_argument("--key", help="key file, if the daemon asks for one")
args = parser.parse_args()

with rr.RecordingStream("streamseg") as recording, PairedSubscriber(args.endpoint, key_file=args.key) as pairs:
    recording.save(args.out)
    for _ in range(args.frames):
        pair = pairs.receive()
        pair.masks.log_rerun(recording=recording)  # label image, names and colors, at the frame's number and time
        picture = rr.EncodedImage(contents=pair.image.jpeg, media_type="image/jpeg")
        recording.log(f"{pair.stream}/picture", picture)
        for obj in pair.masks.objects:
            recording.log(f"{pair.stream}/area/{obj.id}", rr.Scalars(np.float64(obj.area)))
print(f"{args.frames} frames in {args.out}")

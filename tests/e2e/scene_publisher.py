"""Plays a generated scene as H.264 to an RTSP server that waits for a publisher; ends on request.

Run as ``python scene_publisher.py SCENE_ADDRESS URL``.
"""

from __future__ import annotations

import sys
import time
from fractions import Fraction

import av

from streamseg.sources.scene.source import Scene


def main() -> None:
    scene = Scene(sys.argv[1])
    deadline = time.monotonic() + 60
    while True:  # the reader may not listen yet
        output = av.open(sys.argv[2], "w", format="rtsp", options={"rtsp_transport": "tcp"})
        stream = output.add_stream("h264", rate=30, options={"preset": "ultrafast", "tune": "zerolatency", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = scene.spec.width, scene.spec.height, "yuv420p"
        stream.gop_size = 30
        try:
            output.start_encoding()
            break
        except av.error.FFmpegError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    started = time.monotonic()
    number = 0
    while True:
        frame = av.VideoFrame.from_ndarray(scene.render(number), format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 30)
        output.mux(stream.encode(frame))
        number += 1
        time.sleep(max(0.0, started + number / 30 - time.monotonic()))  # a camera's pace


if __name__ == "__main__":
    main()

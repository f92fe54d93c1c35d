"""Publishes a generated video over RTSP or RTMP until it is killed. A process of its own, as a camera would be.

Usage: ``python av_publisher.py '<JSON>'``. Keys: ``url``, ``format`` (rtsp, flv), ``codec``, ``width``, ``height``,
``rate``, ``b_frames``. Tries to connect for 30 s, prints ``publishing`` when it is connected.
"""

import json
import sys
import time

import av


def connect(settings: dict) -> av.container.OutputContainer:
    deadline = time.monotonic() + 30
    while True:
        options = {"rtsp_transport": "tcp"} if settings["format"] == "rtsp" else {}
        output = av.open(settings["url"], "w", format=settings["format"], options=options)
        stream = output.add_stream(settings.get("codec", "libx264"), rate=settings.get("rate", 25))
        stream.width, stream.height = settings.get("width", 320), settings.get("height", 240)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = 25
        if stream.codec_context.name == "libx264":
            b_frames = settings.get("b_frames", 0)
            options = {"preset": "ultrafast", "bf": str(b_frames)}
            stream.options = options if b_frames else options | {"tune": "zerolatency"}
        try:
            output.start_encoding()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return output


def main() -> None:
    settings = json.loads(sys.argv[1])
    output = connect(settings)
    print("publishing", flush=True)
    stream = output.streams.video[0]
    graph = f"testsrc2=size={stream.width}x{stream.height}:rate={settings.get('rate', 25)},realtime"
    with av.open(graph, format="lavfi") as source:
        for picture in source.decode(video=0):
            picture.pict_type = 0
            for packet in stream.encode(picture):
                output.mux(packet)


if __name__ == "__main__":
    main()

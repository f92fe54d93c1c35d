"""Receive the masks of a stream."""

from streamseg.client import Subscriber

with Subscriber("tcp://127.0.0.1:5555", streams=["cam"]) as subscriber:
    for frame in subscriber:
        for obj in frame.objects:
            print(frame.frame, obj.id, obj.label, obj.state, obj.bbox, obj.mask.sum())

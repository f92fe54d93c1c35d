"""For programs that consume masks. Imports neither torch nor av nor OpenCV until they are needed.

::

    from streamseg.client import Subscriber

    with Subscriber("tcp://127.0.0.1:5555") as subscriber:
        for frame in subscriber:
            for obj in frame.objects:
                print(frame.stream, frame.frame, obj.id, obj.label, obj.mask.sum())
"""

from streamseg.client.async_subscriber import AsyncPairedSubscriber, AsyncSubscriber
from streamseg.client.core import SubscriberStats
from streamseg.client.results import (
    DaemonStatusMessage,
    EventMessage,
    FrameMessage,
    FramePair,
    ImageFrame,
    MaskFrame,
    Message,
    ObjectInfo,
    ObjectMask,
    ObjectsFrame,
    StatusMessage,
)
from streamseg.client.subscriber import PairedSubscriber, Subscriber

__all__ = [
    "AsyncPairedSubscriber",
    "AsyncSubscriber",
    "DaemonStatusMessage",
    "EventMessage",
    "FrameMessage",
    "FramePair",
    "ImageFrame",
    "MaskFrame",
    "Message",
    "ObjectInfo",
    "ObjectMask",
    "ObjectsFrame",
    "PairedSubscriber",
    "StatusMessage",
    "Subscriber",
    "SubscriberStats",
]

"""Python clients: subscribe to masks, and control a daemon. Imports neither torch nor av; OpenCV only if needed.

::

    from streamseg.client import Subscriber

    with Subscriber("tcp://127.0.0.1:5555") as subscriber:
        for frame in subscriber:
            for obj in frame.objects:
                print(frame.stream, frame.frame, obj.id, obj.label, obj.mask.sum())

    from streamseg.client import Controller

    with Controller() as control:
        control.add_prompt("cam", points=[(0.42, 0.63)], label="cup")
"""

from streamseg.client.async_controller import AsyncController
from streamseg.client.async_subscriber import AsyncPairedSubscriber, AsyncSubscriber
from streamseg.client.control_results import ObjectSnapshot, Snapshot
from streamseg.client.controller import Controller
from streamseg.client.core import SubscriberStats
from streamseg.client.listener import Listener
from streamseg.client.results import (
    DaemonStatusMessage,
    EventMessage,
    FrameMessage,
    FramePair,
    ImageFrame,
    MaskFrame,
    Message,
    ObjectMask,
    ObjectsFrame,
    StatusMessage,
)
from streamseg.client.subscriber import PairedSubscriber, Subscriber
from streamseg.errors import ControlError
from streamseg.protocol.published import ObjectInfo
from streamseg.protocol.results import PromptResult

__all__ = [
    "AsyncController",
    "AsyncPairedSubscriber",
    "AsyncSubscriber",
    "ControlError",
    "Controller",
    "DaemonStatusMessage",
    "EventMessage",
    "FrameMessage",
    "FramePair",
    "ImageFrame",
    "Listener",
    "MaskFrame",
    "Message",
    "ObjectInfo",
    "ObjectMask",
    "ObjectSnapshot",
    "ObjectsFrame",
    "PairedSubscriber",
    "PromptResult",
    "Snapshot",
    "StatusMessage",
    "Subscriber",
    "SubscriberStats",
]

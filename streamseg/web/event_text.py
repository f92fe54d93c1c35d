"""Events as readable text."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from streamseg.client import EventMessage

_TEXTS: Final = {
    "object_appeared": "visible",
    "object_uncertain": "mask uncertain",
    "object_certain": "mask certain again",
    "object_occluded": "hidden",
    "object_suspended": "not tracked: overload",
    "object_resumed": "tracked again",
    "object_restarted": "started again",
    "input_reduced": "smaller model input: overload",
    "input_restored": "full model input again",
    "object_retired": "no longer tracked",
    "restored": "tracked on after a restart",
    "tracker_reset": "removed",
    "subscriber_dropped": "subscriber disconnected",
    "web_restarted": "page server restarted",
}
"""Text of the events whose name is not clear."""

_LEVELS: Final = {
    "good": "object_appeared object_certain object_restarted object_resumed input_restored restored stream_connected",
    "warn": "object_uncertain object_occluded object_suspended input_reduced",
    "bad": "object_lost prompt_rejected stream_reconnecting stream_failed tracking_failed subscriber_dropped "
    "recording_stopped worker_restarted capture_restarted publisher_restarted recorder_restarted prompter_restarted "
    "prompter_failed",
}
_LEVEL_OF: Final = {kind: level for level, kinds in _LEVELS.items() for kind in kinds.split()}


_STATE_AFTER: Final = {
    "object_uncertain": "uncertain",
    "object_occluded": "occluded",
    "object_lost": "lost",
    "object_suspended": "suspended",
    **dict.fromkeys(
        ("object_added", "object_appeared", "object_certain", "object_restarted", "object_resumed", "restored"),
        "tracked",
    ),
}


class EventWords(msgspec.Struct, frozen=True):
    """An event as text.

    Attributes:
        text: What happened to which object.
        level: good, warn, bad, or empty if it is none of these.
        state: New state of its object; empty if the event does not change it.
    """

    text: str
    level: str
    state: str


def event_words(event: EventMessage) -> EventWords:
    """Return an event as text."""
    kind = event.event
    if event.region is not None and event.detail:  # it is a sentence with the object's name
        return EventWords(event.detail, _LEVEL_OF.get(kind, ""), "")
    what = _TEXTS.get(kind) or re.sub("^(object|stream)_", "", kind).replace("_", " ")
    ids = event.objects if event.object is None else (event.object,)
    unnamed = f"object{'s' if len(ids) > 1 else ''} " if ids and not event.label else ""
    who = f"{unnamed}{', '.join(map(str, sorted(ids)))} {event.label}"
    if kind == "tracker_reset" and not ids:
        who = "all objects"
    text = f"{who.strip()} {what}".strip()
    if event.detail:
        text += f" ({event.detail})"
    return EventWords(text, _LEVEL_OF.get(kind, ""), _STATE_AFTER.get(kind, ""))

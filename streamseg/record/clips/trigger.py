"""The trigger of a clip: an event, or a request."""

from __future__ import annotations

from dataclasses import dataclass

from streamseg.client import EventMessage
from streamseg.common.clip_names import REQUESTED


@dataclass(frozen=True, slots=True)
class Trigger:
    """What started a clip.

    Attributes:
        stream: Id of the stream.
        kind: Kind of the event, or :data:`~streamseg.common.clip_names.REQUESTED`.
        t_ns: When it happened, by the monotonic clock.
        obj_id: Id of the object it is about, if any.
        label: Name of that object.
        region: Name of the zone or line it is about.
        detail: Readable text.
    """

    stream: str
    kind: str
    t_ns: int
    obj_id: int | None = None
    label: str = ""
    region: str = ""
    detail: str = ""

    @classmethod
    def of(cls, event: EventMessage, now_ns: int) -> Trigger:
        """Return an event as a trigger."""
        region = event.region.name if event.region else ""
        t_ns = event.t_mono_ns or now_ns
        return cls(event.stream, event.event, t_ns, event.object, event.label, region, event.detail)

    @property
    def requested(self) -> bool:
        """Whether it is a request: events do not change the length of its clip."""
        return self.kind == REQUESTED

    def metadata(self) -> dict[str, str]:
        """Return the video file's metadata."""
        what = " ".join(part for part in (self.kind, self.label, self.region) if part)
        return {"title": f"{self.stream}: {what}", "comment": self.detail}

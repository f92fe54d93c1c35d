"""Names of clip files: time, stream and event."""

from __future__ import annotations

import calendar
import re
import time
from dataclasses import dataclass
from typing import Final

SUFFIX: Final = ".mp4"
REQUESTED: Final = "requested"
"""Kind of a requested clip; all others have the kind of an event."""
CLIP_NAME: Final = re.compile(
    r"(?P<time>\d{8}T\d{6}Z)-(?P<stream>[A-Za-z0-9_-]+)-(?P<kind>[a-z_]+)(?:-\d+)?\.mp4", re.ASCII
)
_TIME: Final = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class ClipName:
    """The parts of a name.

    Attributes:
        t_s: Time of the event, Unix epoch.
        stream: Id of the stream.
        kind: Kind of the event, or :data:`REQUESTED`.
    """

    t_s: int
    stream: str
    kind: str


def stem_of(stream: str, kind: str) -> str:
    """Return the name of a clip that begins now, without suffix."""
    return f"{time.strftime(_TIME, time.gmtime())}-{stream}-{kind}"


def parse_clip_name(name: str) -> ClipName | None:
    """Return the parts of a name; None if it is not the name of a clip."""
    match = CLIP_NAME.fullmatch(name)
    if match is None:
        return None
    try:
        t_s = calendar.timegm(time.strptime(match["time"], _TIME))
    except ValueError:
        return None
    return ClipName(t_s, match["stream"], match["kind"])

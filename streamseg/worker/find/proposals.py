"""Finds objects of one stream from the proposals of one prompter, by the rules of ``find``.

The prompter gets a tracked frame, and the tracker holds that frame until the proposals have been used. They are
compared with the objects on that frame, so it does not matter how long the prompter took. A new object gets a mask
there, is tentative until it was seen on several pictures, and then starts on the frame of its last sighting.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from streamseg.config.schema import PrompterConfig
from streamseg.errors import FrameExpiredError, PromptError
from streamseg.frame import Frame
from streamseg.ipc.prompters import CheckedProposal, Proposals, ProposedMask, Ready
from streamseg.protocol.published import PrompterCounts
from streamseg.ring.layout import Role
from streamseg.tracker.types import BoolMask, ObjectResult, Point, Prompt, Tracker
from streamseg.worker.find.association import Rules, Sight, Tentative, associate, new_sights
from streamseg.worker.find.found_objects import FoundObjects
from streamseg.worker.find.grid import allowed_cells, to_grid
from streamseg.worker.find.pieces import Pieces, milliseconds
from streamseg.worker.track_errors import logged_only

log = logging.getLogger(__name__)

_SAME_BOX: Final = 0.5
"""A proposed box with at least this IoU with a tracked object's box is that object; no mask is compared."""


@dataclass(frozen=True, slots=True, eq=False)
class _Looked:
    """The frame that the prompter has, and the objects tracked on it."""

    frame_id: int
    size: tuple[int, int]
    results: Mapping[int, ObjectResult]


class ProposalFinder:
    """Finds objects of one stream with one prompter.

    Args:
        prompter: Name of the prompter.
        config: Its settings.
        found: The stream's found objects.
        tracker: The stream is open on it.

    Attributes:
        stream: Id of the stream.
        name: Name of the stream and the prompter.
        config: The settings.
        share: Share of the device's time for masks of proposals.
    """

    def __init__(
        self, prompter: str, config: PrompterConfig, found: FoundObjects, tracker: Tracker, share: float
    ) -> None:
        self.stream = found.objects.name
        self.name = f"{self.stream}/{prompter}"
        self.config = config
        self.share = share
        self._objects = found.objects
        self._found = found
        self._tracker = tracker
        self._counts = PrompterCounts()
        self._ready: Ready | None = None
        self._given = False
        self._pieces = Pieces(f"prompter {self.name}: the use of its proposals", self._release)
        self._tentative: list[Tentative] = []
        self._looked: _Looked | None = None
        self._looked_ns: int | None = None

    @property
    def has_work(self) -> bool:
        """Whether a piece of work can run. None can while prompts wait for the next frame, as in ``find``."""
        return self._pieces.under_way and not self._objects.table.has_pending

    def counts(self) -> PrompterCounts:
        """Return the counts of its work."""
        return msgspec.structs.replace(
            self._counts,
            tentative=len(self._tentative),
            expired=self._pieces.expired,
            errors=self._pieces.failed,
            mask_ms=milliseconds(self._pieces.spent_s),
            longest_delay_ms=milliseconds(self._pieces.longest_s),
        )

    def forget(self) -> None:
        """Drop the current work and all tentative objects."""
        self._pieces.end()
        self._release()  # also the frame that the prompter still has
        self._tentative = []
        self._looked_ns = None

    # --- the prompter -----------------------------------------------------------------------------------------------

    def on_ready(self, ready: Ready) -> None:
        """Note that the prompter waits for a frame. It has answered or lost the one before."""
        self._count(failed=ready.failed, invalid=ready.invalid, error=ready.error, call_ms=ready.call_ms)
        if self._ready is None or ready.token != self._ready.token:
            self._ready, self._given = ready, False
            if not self._pieces.under_way:
                self._release()

    def wants(self, frame: Frame) -> Role | None:
        """Return the role to share a tracked frame with; None if the prompter does not want it."""
        latest, now_ns = self._objects.latest, frame.stamps.stream_time_ns
        if self._ready is None or self._given or self._pieces.under_way:
            return None
        if latest is None or latest.frame_id != frame.frame_id:
            return None
        if self._looked_ns is not None and 0 <= now_ns - self._looked_ns < self.config.every_s * 1e9:
            return None
        return self._ready.role

    def on_given(self, frame: Frame) -> None:
        """Note that the prompter was given the newest tracked frame."""
        latest = self._found.newest
        self._looked = _Looked(latest.frame_id, latest.size, dict(latest.results))
        self._looked_ns, self._given = frame.stamps.stream_time_ns, True
        self._tracker.hold_frame(self.stream, self.name, latest.frame_id)

    def on_proposals(self, message: Proposals) -> None:
        """Begin to work on proposals. Does nothing if their frame was dropped meanwhile."""
        looked = self._looked
        if not self._pieces.under_way and looked is not None and looked.frame_id == message.frame_id:
            self._count(looks=self._counts.looks + 1, proposals=self._counts.proposals + len(message.proposals))
            self._pieces.begin(self._see(looked, message.proposals))

    # --- proposals --------------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Run one piece of the work. An error ends it; the worker goes on.

        Raises:
            Exception: The device is lost.
        """
        self._pieces.run()

    def note_run(self, seconds: float) -> None:
        """Note how long pieces of work took between two frames."""
        self._pieces.note_run(seconds)

    def _release(self) -> None:
        if self._looked is not None:
            self._looked = None
            with logged_only(self.stream, "a frame could not be released"):
                self._tracker.hold_frame(self.stream, self.name, None)

    def _see(self, looked: _Looked, proposals: list[CheckedProposal]) -> Iterator[None]:
        """Segment the proposals, decide which are new, and start objects that have been seen often enough."""
        self._found.remove_duplicates()
        tracked, rules = self._found.masks_of(looked.results), self._rules(looked)
        sights: list[Sight] = []
        masks: dict[int, Callable[[], BoolMask]] = {}
        for number, one in enumerate(proposals):
            if one.box is not None and _is_tracked(one.box, looked.results):
                continue
            try:
                mask = self._mask_of(one, looked)
            except FrameExpiredError:
                raise
            except PromptError as error:
                log.debug("prompter %s: a proposal gives no mask: %s", self.name, error)
                continue
            sight = Sight(to_grid(mask()), one.score, number, one.label, one.key)
            if new_sights([sight], tracked, rules):
                sights.append(sight)
                masks[number] = mask
            yield
        outcome = associate(sights, tracked, self._tentative, rules, dismissed=tuple(self._found.dismissed))
        self._found.follow_dismissed(sights)
        self._tentative = outcome.tentative
        started: set[int] = set()
        for sight in outcome.confirmed:
            yield  # each start is a separate piece
            if not self._found.has_room("prompter", self.config.max_objects):
                return
            if not self._found.is_new(sight.mask, started):
                continue
            if self._found.start(
                masks[sight.number](), looked.frame_id, label=sight.label, origin="prompter", started=started
            ):
                self._count(found=self._counts.found + 1)

    def _mask_of(self, one: CheckedProposal, looked: _Looked) -> Callable[[], BoolMask]:
        """Return a function that makes the mask of a proposal, so that it takes memory only while in use.

        Raises:
            PromptError: the frame is no longer held, or there is nothing at the proposed place.
        """
        if (given := one.mask) is not None:
            return lambda: _unpacked(given, looked.size)
        obj_id = self._objects.table.free_id
        points = tuple(Point(x, y, label) for x, y, label in one.points)
        prompt = Prompt(obj_id, points=points, box=one.box)
        seen = self._tracker.preview(self.stream, prompt, looked.frame_id, fresh=True).prompted
        return lambda: seen.full_mask

    def _rules(self, looked: _Looked) -> Rules:
        config = self.config
        # "all": a detector tells objects and parts of objects apart.
        allowed = allowed_cells(config.region, config.ignore, looked.size)
        return Rules("all", config.min_area, config.max_area, config.confirm, allowed)

    def _count(self, **changed: float | str) -> None:
        self._counts = msgspec.structs.replace(self._counts, **changed)


def _is_tracked(box: tuple[float, float, float, float], results: Mapping[int, ObjectResult]) -> bool:
    """Return whether a visible object already has this box."""
    x0, y0, x1, y1 = box
    for result in results.values():
        x, y, w, h = result.roi
        common = max(0.0, min(x1, x + w) - max(x0, x)) * max(0.0, min(y1, y + h) - max(y0, y))
        if result.area and common >= _SAME_BOX * ((x1 - x0) * (y1 - y0) + w * h - common):
            return True
    return False


def _unpacked(given: ProposedMask, size: tuple[int, int]) -> BoolMask:
    full = np.zeros((size[1], size[0]), np.bool_)
    x, y, w, h = given.roi
    rows = np.frombuffer(given.bits, np.uint8).reshape(h, -1)
    full[y : y + h, x : x + w] = np.unpackbits(rows, axis=1, count=w).astype(np.bool_)
    return full

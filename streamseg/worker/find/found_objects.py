"""The objects of one stream that were found without a prompt, by any finder: how they start and end."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Final

from streamseg.errors import FrameExpiredError, PromptError
from streamseg.protocol.published import Origin
from streamseg.tracker.boxes import Box, box_inside, box_iou
from streamseg.tracker.measure import mask_iou
from streamseg.tracker.types import BoolMask, ObjectResult
from streamseg.worker.find.association import Sight, duplicates, is_known, is_uncovered
from streamseg.worker.find.grid import to_grid
from streamseg.worker.stream_objects import Latest, StreamObjects

log = logging.getLogger(__name__)

_MAX_DISMISSED: Final = 32
_STAYED: Final = 0.3
"""An object whose boxes on two frames have at least this IoU has not jumped."""
_NEAR: Final = 0.5
"""Masks are compared if at least this share of the smaller box lies inside the larger one."""
_SAME_OBJECT: Final = 0.4
"""An object that jumped and has at least this IoU with the object there shows that one."""


class FoundObjects:
    """Starts and retires found objects. Shared by all finders of a stream.

    Args:
        objects: The stream's objects.

    Attributes:
        objects: The same.
        dismissed: Masks of found objects that a user has removed: they are not found there again.
        retired: Origin -> number of its retired objects.
    """

    def __init__(self, objects: StreamObjects) -> None:
        self.objects = objects
        self.dismissed: deque[BoolMask] = deque(maxlen=_MAX_DISMISSED)
        self.retired: Counter[Origin] = Counter()
        self._on_grid: dict[int, tuple[ObjectResult, BoolMask]] = {}
        self._overlapping: dict[int, int] = {}
        self._boxes: dict[int, Box] = {}
        self._near: dict[int, list[int]] = {}  # an object that has jumped -> objects that it has been near since

    @property
    def newest(self) -> Latest:
        """The newest tracked frame. Looks begin only after the first one."""
        latest = self.objects.latest
        assert latest is not None
        return latest

    def dismiss(self, obj_id: int) -> None:
        """Note that a user removes an object: if it was found, it is not found there again."""
        known, latest = self.objects.table.objects.get(obj_id), self.objects.latest
        if known is not None and known.is_found and latest is not None and obj_id in latest.results:
            self.dismissed.append(to_grid(latest.results[obj_id].full_mask))

    def follow_dismissed(self, sights: Sequence[Sight]) -> None:
        """Let dismissed objects move a little from look to look."""
        for place, mask in enumerate(self.dismissed):
            seen = next((sight.mask for sight in sights if is_known(sight.mask, (mask,))), None)
            if seen is not None:
                self.dismissed[place] = seen

    def tracked(self) -> dict[int, BoolMask]:
        """Return the masks of the visible objects on the newest frame.

        Each is kept until its result changes: it takes 8 ms for 1080p.
        """
        known = self._on_grid
        self._on_grid = {
            obj_id: known[obj_id]
            if obj_id in known and known[obj_id][0] is result
            else (result, to_grid(result.full_mask))
            for obj_id, result in self.newest.results.items()
            if result.area
        }
        return {obj_id: mask for obj_id, (_, mask) in self._on_grid.items()}

    def masks_of(self, results: Mapping[int, ObjectResult]) -> list[BoolMask]:
        """Return the masks of the visible objects of an earlier frame."""
        known = self._on_grid
        return [
            known[obj_id][1] if obj_id in known and known[obj_id][0] is result else to_grid(result.full_mask)
            for obj_id, result in results.items()
            if result.area
        ]

    # --- start ------------------------------------------------------------------------------------------------------

    def has_room(self, origin: Origin, max_objects: int) -> bool:
        """Return whether one more object of an origin may start."""
        found = sum(obj.origin == origin for obj in self.objects.table.objects.values())
        return found < max_objects and not self.objects.suspended  # those would be found again

    def start(self, mask: BoolMask, frame_id: int, *, label: str, origin: Origin, started: set[int]) -> bool:
        """Start an object, unless it turns out to be tracked on the newest frame; return whether it was started.

        Blocks: to prompt that frame and track the object on the newest.

        Args:
            mask: ``bool [height, width]`` of the frame.
            frame_id: The frame.
            label: Its name.
            origin: What found it.
            started: Ids of what the same look has started; its id is added.

        Raises:
            FrameExpiredError: the frame is no longer held.
        """
        try:
            obj_id = self.objects.start_found(
                mask,
                frame_id,
                label=label,
                origin=origin,
                accept=lambda current: self.is_new(to_grid(current.full_mask), started),
            )
        except FrameExpiredError:
            raise
        except PromptError as error:
            log.info("stream %s: a found object was not started: %s", self.objects.name, error)
            return False
        if obj_id is None:
            return False
        started.add(obj_id)
        return True

    def is_new(self, mask: BoolMask, started: set[int]) -> bool:
        """Return whether a mask is new among the objects of the newest frame.

        They may have changed during the look. What the look itself has started was compared already.
        """
        return is_uncovered(mask, [other for obj_id, other in self.tracked().items() if obj_id not in started])

    # --- end --------------------------------------------------------------------------------------------------------

    def retire_lost(self, origin: Origin) -> None:
        """Retire the objects of an origin that are lost."""
        states = self.objects.states
        for obj in list(self.objects.table.objects.values()):
            if obj.origin == origin and states.state(obj.obj_id) == "lost":
                self._retire(obj.obj_id, f"not seen for {states.lost_after_ns / 1e9:g} s")

    def retire_jumped(self) -> bool:
        """Retire found objects that have jumped onto another object; return whether any was.

        The object is gone, and its memory matched the other one. Its mask there may begin as a few specks, so the two
        are compared for as long as they stay near each other.

        Called after each tracked frame. An object has jumped if it reappears, or is elsewhere than on the frame before.
        It costs next to nothing: boxes are compared first, and only then the masks inside them.
        """
        table, before = self.objects.table.objects, self._boxes
        now = self._boxes = {obj_id: result.roi for obj_id, result in self.newest.results.items() if result.area}

        def stayed(obj_id: int) -> bool:
            return obj_id in before and box_iou(now[obj_id], before[obj_id]) >= _STAYED

        found = [obj_id for obj_id in now if obj_id in table and table[obj_id].is_found]
        settled = [obj_id for obj_id in now if stayed(obj_id)]
        candidates = {obj_id: self._near[obj_id] for obj_id in found if obj_id in self._near}
        candidates |= {obj_id: settled for obj_id in found if not stayed(obj_id)}
        self._near = {}
        onto: dict[int, int] = {}
        for obj_id, others in candidates.items():
            remaining = [other for other in others if other in now and other not in onto]
            near = [other for other in remaining if box_inside(now[obj_id], now[other]) >= _NEAR]
            same = [other for other in near if self._show_the_same(obj_id, other)]
            if same:
                onto[obj_id] = same[0]
            elif near:
                self._near[obj_id] = near
        for obj_id, other in onto.items():
            self._retire(obj_id, f"it jumped onto object {other}")
        return bool(onto)

    def _show_the_same(self, obj_id: int, other: int) -> bool:
        results = self.newest.results
        return mask_iou(results[obj_id], results[other]) >= _SAME_OBJECT

    def remove_duplicates(self) -> None:
        """Retire found objects that have shown the same as another object in two looks."""
        table = self.objects.table.objects
        found = duplicates(
            [(obj_id, table[obj_id].is_found, mask) for obj_id, mask in self.tracked().items() if obj_id in table]
        )
        again = {obj_id: other for obj_id, other in found.items() if self._overlapping.get(obj_id) == other}
        self._overlapping = found
        for obj_id, other in again.items():
            self._retire(obj_id, f"it shows the same as object {other}")

    def _retire(self, obj_id: int, why: str) -> None:
        self.retired[self.objects.table.objects[obj_id].origin] += 1
        self.objects.retire(obj_id, why)

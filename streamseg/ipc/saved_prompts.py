"""Prompts and names of a stream's objects, saved by the supervisor so that a restarted worker can track them again.

Imports nothing of the tracker.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from streamseg.config.schema import FindConfig, PromptConfig
from streamseg.protocol.arguments import Coords, PromptArgs, Rle
from streamseg.protocol.prompt_rules import MAX_OBJECT_ID
from streamseg.protocol.published import Origin

_MAX_SKIPPED_IDS: Final = 1_000_000

MAX_PROMPTS: Final = 16
"""Prompts saved per object: the first one and the newest corrections."""


@dataclass(frozen=True, slots=True)
class SavedPrompt:
    """A prompt inside the daemon, whether configured or requested. Equal prompts compare equal.

    Attributes:
        points: (x, y, label): label 1 is on the object, 0 is off.
        box: (x0, y0, x1, y1).
        mask: Run lengths of the whole frame, or the path of an image, which is read when the prompt is applied.
        coords: Unit of points and box.
        restarts: It restarted the object; earlier prompts are about another appearance or place.
        candidate: Which of the masks of an ambiguous click to take; None: the model's choice.
    """

    points: tuple[tuple[float, float, float], ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: Rle | Path | None = None
    coords: Coords = "normalized"
    restarts: bool = False
    candidate: int | None = None


@dataclass(frozen=True, slots=True)
class SavedObject:
    """One object.

    Attributes:
        obj_id: Its id.
        label: Its name.
        prompts: In order; the first one started the object.
        last_mask: Its last visible mask, for a tracker without memory of it; None: start from ``prompts``.
        origin: What started it. A found object that a user corrects or names becomes the user's.
    """

    obj_id: int
    label: str
    prompts: tuple[SavedPrompt, ...]
    last_mask: Rle | None = None
    origin: Origin = "user"

    @property
    def is_found(self) -> bool:
        """Whether it was found without a user's prompt: it is retired when lost, and may be found again."""
        return self.origin in ("auto", "prompter")

    @property
    def start_prompts(self) -> tuple[SavedPrompt, ...]:
        """The prompts that make a tracker follow the object."""
        if self.last_mask is not None:
            return (SavedPrompt(mask=self.last_mask),)
        return self.prompts[_newest_start(self.prompts) :]

    def corrected(self, prompt: SavedPrompt) -> SavedObject:
        """Return the object with one more prompt. Beyond :data:`MAX_PROMPTS`, the oldest correction is dropped.

        The first prompt is kept, and so is the one that restarted the object.
        """
        prompts = (*self.prompts, prompt)
        if len(prompts) > MAX_PROMPTS:
            dropped = 2 if _newest_start(prompts) == 1 else 1
            prompts = (*prompts[:dropped], *prompts[dropped + 1 :])
        return replace(self, prompts=prompts)


@dataclass(frozen=True, slots=True)
class FindRequest:
    """A client's settings for finding objects. They apply until the configured settings change.

    Attributes:
        configured: The configured settings at that time.
        requested: The settings to use.
    """

    configured: FindConfig
    requested: FindConfig


@dataclass(frozen=True, slots=True)
class SavedStream:
    """One stream.

    Attributes:
        objects: Oldest first.
        next_id: Where the search for a free id begins (:func:`free_id`).
        paused: Tracking is paused.
        planned: The worker was stopped on purpose: the next one continues regardless of ``on_discontinuity``.
        earlier: An earlier daemon tracked the objects.
        unseen: Ids of objects that were not visible when the worker was stopped: without memory, they are lost.
        find: A client's settings for finding objects; None: as configured.
    """

    objects: tuple[SavedObject, ...] = ()
    next_id: int = 1
    paused: bool = False
    planned: bool = False
    earlier: bool = False
    unseen: tuple[int, ...] = ()
    find: FindRequest | None = None

    def changed(self, removed: Iterable[int], prompts: Iterable[PromptConfig]) -> SavedStream:
        """Return the stream after a change of its configured prompts, as the worker would save it."""
        new = {
            prompt.object: SavedObject(prompt.object, prompt.label, (normalize_prompt(prompt),), origin="config")
            for prompt in prompts
        }
        gone = {*removed, *new}
        return replace(
            self,
            objects=(*(obj for obj in self.objects if obj.obj_id not in gone), *new.values()),
            next_id=next_id_after(self.next_id, new),
            unseen=tuple(obj_id for obj_id in self.unseen if obj_id not in gone),
        )


def _newest_start(prompts: Sequence[SavedPrompt]) -> int:
    """Return the index of the last prompt that started or restarted the object."""
    return max((place for place, prompt in enumerate(prompts) if prompt.restarts), default=0)


def next_id_after(next_id: int, used: Iterable[int]) -> int:
    """Return the next automatic id after objects with these ids were added.

    Ids are not assigned twice, so the next one is larger than all before. Except for an id far beyond it that a client
    chose: it would waste all ids in between, so it is skipped when the automatic ids get there.
    """
    for obj_id in sorted(used):
        if next_id <= obj_id <= next_id + _MAX_SKIPPED_IDS:
            next_id = obj_id + 1
    return next_id


def free_id(next_id: int, taken: Container[int]) -> int:
    """Return the next id for a new object.

    Args:
        next_id: All ids below it were assigned before.
        taken: Ids of the present objects.
    """
    for obj_id in itertools.chain(range(next_id, MAX_OBJECT_ID + 1), range(1, next_id)):
        if obj_id not in taken:
            return obj_id
    raise AssertionError("a stream has fewer objects than there are ids")


def configured(prompts: tuple[PromptConfig, ...]) -> SavedStream:
    """Return the saved form of a stream that starts with its configured prompts."""
    return SavedStream(
        tuple(
            SavedObject(prompt.object, prompt.label, (normalize_prompt(prompt),), origin="config") for prompt in prompts
        ),
        next_id=next_id_after(1, (prompt.object for prompt in prompts)),
    )


def normalize_prompt(prompt: PromptConfig | PromptArgs) -> SavedPrompt:
    """Return a configured or requested prompt in the daemon's own form."""
    mask = Path(prompt.mask) if isinstance(prompt.mask, str) else prompt.mask
    points = tuple((point[0], point[1], point[2] if len(point) == 3 else 1.0) for point in prompt.points)
    return SavedPrompt(points, prompt.box, mask, prompt.coords)

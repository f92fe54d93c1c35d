"""What it takes to follow a stream's objects again: kept by the supervisor, since it outlives the worker.

Imports nothing of the tracker.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from streamseg.config.schema import PromptConfig
from streamseg.messages.control import Marks

MOST_PROMPTS: Final = 16
"""Prompts of an object that are kept: the first one, and the newest corrections."""

GivenPrompt = PromptConfig | Marks
"""A prompt as it was configured, or given while the daemon runs."""


@dataclass(frozen=True, slots=True)
class KeptObject:
    """One object.

    Attributes:
        obj_id: Its id.
        label: Its name.
        prompts: In the order in which they were given: the first started it.
    """

    obj_id: int
    label: str
    prompts: tuple[GivenPrompt, ...]

    def corrected(self, prompt: GivenPrompt) -> KeptObject:
        """Return it with one more prompt; the oldest correction is given up for it where there are too many."""
        prompts = (*self.prompts, prompt)
        if len(prompts) > MOST_PROMPTS:
            prompts = (prompts[0], *prompts[2:])
        return replace(self, prompts=prompts)


@dataclass(frozen=True, slots=True)
class KeptStream:
    """One stream.

    Attributes:
        objects: Oldest first.
        next_id: Greater than every id that an object of this stream has had.
        paused: Nothing in it is tracked.
    """

    objects: tuple[KeptObject, ...] = ()
    next_id: int = 1
    paused: bool = False


def configured(prompts: tuple[PromptConfig, ...]) -> KeptStream:
    """Return what is kept of a stream that begins with configured prompts."""
    return KeptStream(
        tuple(KeptObject(prompt.object, prompt.label, (prompt,)) for prompt in prompts),
        next_id=1 + max((prompt.object for prompt in prompts), default=0),
    )

"""What is known of one object beside the tensors of its lane: its prompts, its newest masks, and how to undo a prompt.

A prompt may come for a frame that is not the newest one. Then all that the lane remembers from that frame on came of
the mask that the prompt replaces: it is dropped, and the caller tracks the object anew from there.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from streamseg.tracker.sam2.memory_bank import MemoryBank, conditioning_slot
from streamseg.tracker.sam2.prompt_step import PromptOutput
from streamseg.tracker.sam2.prompt_tensors import PromptTensors
from streamseg.tracker.sam2.step import StepOutput


class _Conditioning(NamedTuple):
    """A conditioning frame as its slot held it, and its mask if the frame could still be prompted."""

    frame: int
    features: Tensor
    pointer: Tensor
    output: StepOutput | None


class _Given(NamedTuple):
    """What a prompt changed.

    Attributes:
        frame: The prompted frame.
        slot: The conditioning slot that it took.
        replaced: What the slot held before.
        prompt: The earlier prompt on that frame, to which this one's points were added.
    """

    frame: int
    slot: int
    replaced: _Conditioning | None
    prompt: PromptTensors | None


@dataclass(slots=True)
class ObjectMemory:
    """What is known on the host of one object.

    Attributes:
        lane: Its place in the bank.
        undo_depth: Most prompts that can be taken back.
        gap: The newest frame that the rings may miss: all after it were tracked.
        conditioning_frames: By slot.
        outputs: By frame: masks (``B`` = 1) of the frames that can still be prompted.
        prompts: By frame: the same of prompts; clicks on one frame add up.
    """

    lane: int
    undo_depth: int
    gap: int = -1
    conditioning_frames: list[int] = field(default_factory=list)
    outputs: dict[int, StepOutput] = field(default_factory=dict)
    prompts: dict[int, PromptTensors] = field(default_factory=dict)
    _undo: deque[_Given] = field(init=False)

    def __post_init__(self) -> None:
        self._undo = deque(maxlen=self.undo_depth)

    def began_before(self, frame: int) -> bool:
        """Whether there is memory that a frame can be tracked with."""
        return any(conditioning < frame for conditioning in self.conditioning_frames)

    @property
    def can_undo(self) -> bool:
        """Whether a prompt is known that could be taken back."""
        return bool(self._undo)

    def note_tracked(self, frame: int, output: StepOutput, oldest: int) -> None:
        """Hold the mask of a tracked frame, and none from before ``oldest``: those cannot be prompted any more."""
        self.outputs[frame] = output
        for held in (self.outputs, self.prompts):
            for old in [held_frame for held_frame in held if held_frame < oldest]:
                del held[old]

    def remember_prompt(
        self, bank: MemoryBank, frame: int, newest: int, prompt: PromptTensors, out: PromptOutput
    ) -> None:
        """Make a frame a conditioning frame. What was tracked after it is forgotten.

        Args:
            bank: Written.
            frame: The prompted frame.
            newest: The stream's newest frame.
            prompt: All that was given on the frame so far.
            out: What came of it.
        """
        slot = conditioning_slot(self.conditioning_frames, frame, bank.shape.conditioning_frames)
        self._undo.append(_Given(frame, slot, self._conditioning(bank, slot), self.prompts.get(frame)))
        self.conditioning_frames[slot : slot + 1] = [frame]
        self._forget_since(bank, frame, newest)
        bank.write_conditioning(self.lane, slot, frame, out.features, out.pointer)
        self.outputs[frame], self.prompts[frame] = out.step, prompt

    def undo_prompt(self, bank: MemoryBank, newest: int) -> int | None:
        """Make the conditioning memory what it would be without the last prompt. What came of the prompt is forgotten.

        Returns:
            The first frame to track anew; None if it was the only prompt: nothing is left to track.
        """
        given = self._undo.pop()
        if given.replaced is not None:
            self.conditioning_frames[given.slot] = given.replaced.frame
            bank.write_conditioning(
                self.lane, given.slot, given.replaced.frame, given.replaced.features, given.replaced.pointer
            )
        else:
            del self.conditioning_frames[given.slot]
            bank.clear_conditioning(self.lane, given.slot)
        if not self.conditioning_frames:
            return None
        self._forget_since(bank, given.frame, newest)
        self.prompts.pop(given.frame, None)
        if given.prompt is not None:
            self.prompts[given.frame] = given.prompt
        if given.replaced is not None and given.replaced.output is not None:
            self.outputs[given.replaced.frame] = given.replaced.output
        return max(given.frame, min(self.conditioning_frames))

    def _conditioning(self, bank: MemoryBank, slot: int) -> _Conditioning | None:
        if slot == len(self.conditioning_frames):
            return None
        frame = self.conditioning_frames[slot]
        return _Conditioning(frame, *bank.read_conditioning(self.lane, slot), self.outputs.get(frame))

    def _forget_since(self, bank: MemoryBank, frame: int, newest: int) -> None:
        """Forget all tracked frames from one on. Masks of conditioning frames stay: the user gave them."""
        bank.forget_since(self.lane, frame)
        for later in [held for held in self.outputs if held >= frame and held not in self.conditioning_frames]:
            del self.outputs[later]
        self.gap = newest

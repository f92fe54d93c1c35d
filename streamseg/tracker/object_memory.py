"""The host side of one object's memory: its prompts, its newest masks, and the undo of prompts.

A prompt may apply to an older frame. The lane's memory from that frame on came from the mask that the prompt replaces,
so it is dropped, and the caller tracks the object again from there.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from streamseg.tracker.sam2.memory_bank import MemoryBank, conditioning_slot
from streamseg.tracker.sam2.memory_policy import NEVER
from streamseg.tracker.sam2.prompt_step import PromptMemory, PromptOutput
from streamseg.tracker.sam2.prompt_tensors import PromptTensors
from streamseg.tracker.sam2.step import StepOutput


class _Conditioning(NamedTuple):
    """The content of a conditioning slot, and the frame's mask if the frame can still be prompted."""

    frame: int
    features: Tensor
    pointer: Tensor
    look: Tensor
    output: StepOutput | None


class _Earlier(NamedTuple):
    """An object's memory before it was restarted, on the host.

    Attributes:
        lane: Rows of the bank.
        conditioning_frames: As in :class:`ObjectMemory`, like ``outputs`` and ``prompts``.
        undo: Prompts that could be undone.
    """

    lane: dict[str, Tensor]
    conditioning_frames: list[int]
    outputs: dict[int, StepOutput]
    prompts: dict[int, PromptTensors]
    undo: tuple[_AppliedPrompt, ...]


class _AppliedPrompt(NamedTuple):
    """What a prompt changed, so that it can be undone.

    Attributes:
        frame: The prompted frame.
        slot: The conditioning slot that it was written to.
        replaced: The previous content of the slot.
        prompt: The earlier prompt on that frame, to which the points were added.
        earlier: The memory that the object had, if the prompt restarted it.
    """

    frame: int
    slot: int
    replaced: _Conditioning | None
    prompt: PromptTensors | None
    earlier: _Earlier | None = None

    def moved(self, frames: int) -> _AppliedPrompt:
        """Return the same for an object whose memory was moved, without data of old pictures."""
        replaced = self.replaced and self.replaced._replace(frame=self.replaced.frame + frames, output=None)
        return self._replace(frame=self.frame + frames, replaced=replaced, prompt=None)


@dataclass(slots=True)
class ObjectMemory:
    """One object, on the host.

    Attributes:
        lane: Its index in the bank.
        undo_depth: Maximum number of prompts that can be undone.
        gap: The newest frame that may be missing from the rings; all later ones were tracked.
        conditioning_frames: Frame numbers by slot.
        outputs: Frame -> mask (``B`` = 1), for frames that can still be prompted.
        prompts: Frame -> its prompts; clicks on one frame add up.
    """

    lane: int
    undo_depth: int
    gap: int = -1
    conditioning_frames: list[int] = field(default_factory=list)
    outputs: dict[int, StepOutput] = field(default_factory=dict)
    prompts: dict[int, PromptTensors] = field(default_factory=dict)
    _undo: deque[_AppliedPrompt] = field(init=False)
    _earlier: _Earlier | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._undo = deque(maxlen=self.undo_depth)

    def began_before(self, frame: int) -> bool:
        """Return whether there is memory for tracking a frame."""
        return any(conditioning < frame for conditioning in self.conditioning_frames)

    def seen_at(self, frame: int) -> bool:
        """Return whether the object was visible on a frame, or on the last tracked one before it. Syncs."""
        tracked = max((held for held in self.outputs if held <= frame), default=None)
        if tracked is None:
            return True
        output = self.outputs[tracked]
        return bool((output.object_score_logits > 0) & (output.mask_logits > 0).any())

    def was_given(self, frame: int) -> bool:
        """Return whether the mask of a frame is one that the user gave, not the model's answer to points or a box."""
        prompt = self.prompts.get(frame)
        return frame in self.conditioning_frames and prompt is not None and prompt.mask is not None

    @property
    def can_undo(self) -> bool:
        """Whether there is a prompt to undo."""
        return bool(self._undo)

    def note_tracked(self, frame: int, output: StepOutput, oldest: int) -> None:
        """Keep the mask of a tracked frame, and drop those before ``oldest``, which can no longer be prompted."""
        self.outputs[frame] = output
        for held in (self.outputs, self.prompts):
            for old in [held_frame for held_frame in held if held_frame < oldest]:
                del held[old]

    def remember_prompt(
        self, bank: MemoryBank, frame: int, newest: int, prompt: PromptTensors, out: PromptOutput, memory: PromptMemory
    ) -> None:
        """Make a frame a conditioning frame, and drop the memory of frames tracked after it.

        Args:
            bank: The bank; modified.
            frame: The prompted frame.
            newest: The stream's newest frame.
            prompt: Everything given on the frame so far.
            out: Its result.
            memory: Its memory.
        """
        slot = conditioning_slot(self.conditioning_frames, frame, bank.shape.conditioning_frames)
        earlier, self._earlier = self._earlier, None
        self._undo.append(_AppliedPrompt(frame, slot, self._conditioning(bank, slot), self.prompts.get(frame), earlier))
        self.conditioning_frames[slot : slot + 1] = [frame]
        self._forget_since(bank, frame, newest)
        bank.write_conditioning(self.lane, slot, frame, *memory)
        self.outputs[frame], self.prompts[frame] = out.step, prompt

    def undo_prompt(self, bank: MemoryBank, newest: int) -> int | None:
        """Restore the conditioning memory from before the last prompt, and drop the memory that the prompt led to.

        Returns:
            The first frame to track again; None if it was the only prompt.
        """
        undone = self._undo.pop()
        if undone.earlier is not None:
            self._go_back(bank, undone.earlier)
            self._forget_since(bank, undone.frame, newest)
            return max(undone.frame, min(self.conditioning_frames))
        if undone.replaced is not None:
            self.conditioning_frames[undone.slot] = undone.replaced.frame
            held = undone.replaced
            bank.write_conditioning(self.lane, undone.slot, held.frame, held.features, held.pointer, held.look)
        else:
            del self.conditioning_frames[undone.slot]
            bank.clear_conditioning(self.lane, undone.slot)
        if not self.conditioning_frames:
            return None
        self._forget_since(bank, undone.frame, newest)
        self.prompts.pop(undone.frame, None)
        if undone.prompt is not None:
            self.prompts[undone.frame] = undone.prompt
        if undone.replaced is not None and undone.replaced.output is not None:
            self.outputs[undone.replaced.frame] = undone.replaced.output
        return max(undone.frame, min(self.conditioning_frames))

    def restart(self, bank: MemoryBank) -> None:
        """Forget everything. Undoing the next prompt restores it, but earlier restarts can no longer be undone."""
        self._earlier = _Earlier(
            {name: rows.cpu() for name, rows in bank.read_lane(self.lane).items()},
            self.conditioning_frames,
            self.outputs,
            self.prompts,
            tuple(applied._replace(earlier=None) for applied in self._undo if applied.earlier is None),
        )
        bank.clear_lane(self.lane)
        self.conditioning_frames, self.outputs, self.prompts = [], {}, {}
        self._undo.clear()

    @classmethod
    def imported(cls, bank: MemoryBank, lane: int, undo_depth: int, newest: int) -> ObjectMemory:
        """Return an object whose memory was imported into a lane. None of its prompts can be undone."""
        conditioning = [frame for frame in bank.conditioning_frame[lane].tolist() if frame != NEVER]
        return cls(lane, undo_depth, gap=newest, conditioning_frames=conditioning)

    def copy(self) -> ObjectMemory:
        """Return an independent copy on the same lane. The lane itself is shared."""
        other = ObjectMemory(
            self.lane,
            self.undo_depth,
            self.gap,
            list(self.conditioning_frames),
            dict(self.outputs),
            dict(self.prompts),
        )
        other._undo.extend(self._undo)
        other._earlier = self._earlier
        return other

    def move(self, bank: MemoryBank, frames: int, newest: int) -> None:
        """Move the memory to later frames, as if no time had passed. A restart can no longer be undone.

        Args:
            bank: The bank; modified.
            frames: Number of frames.
            newest: The stream's newest frame.
        """
        bank.move_lane(self.lane, frames)
        self.conditioning_frames = [frame + frames for frame in self.conditioning_frames]
        self.outputs, self.prompts = {}, {}  # their pictures are no longer held
        applied = [undone.moved(frames) for undone in self._undo if undone.earlier is None]
        self._undo.clear()
        self._undo.extend(applied)
        self.gap = newest

    def _go_back(self, bank: MemoryBank, earlier: _Earlier) -> None:
        bank.write_lane(self.lane, earlier.lane)
        self.conditioning_frames = list(earlier.conditioning_frames)
        self.outputs, self.prompts = dict(earlier.outputs), dict(earlier.prompts)
        self._undo.extend(earlier.undo)

    def _conditioning(self, bank: MemoryBank, slot: int) -> _Conditioning | None:
        if slot == len(self.conditioning_frames):
            return None
        frame = self.conditioning_frames[slot]
        return _Conditioning(frame, *bank.read_conditioning(self.lane, slot), self.outputs.get(frame))

    def _forget_since(self, bank: MemoryBank, frame: int, newest: int) -> None:
        """Drop all tracked frames from one on. Masks of conditioning frames stay, since they come from the user."""
        bank.forget_since(self.lane, frame)
        for later in [held for held in self.outputs if held >= frame and held not in self.conditioning_frames]:
            del self.outputs[later]
        self.gap = newest

"""The schedule of a run: resolution and length of clips grow; the learning rate is constant, then anneals.

With a constant rate and a cool-down (rather than one cosine over the whole run), a later run can continue from before
the cool-down, whose state is kept (``train.py``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of the run.

    Attributes:
        until: Progress at which it ends, in 0..1.
        sides_px: Sides of the square frames, multiples of 32. Each batch takes one of them at random.
        frames_min: Shortest clip.
        frames_max: Longest clip.
        frame_budget: Frames of a step: clips times the frames of a window.
        objects_per_clip: Maximum number of lanes per clip.
        gap_max: Longest time between two frames, in frames of a calm video.
        prompt_shares: Shares of batches with mask, box and click prompts.
        correction_share: Share of batches with box or click prompts that have corrections.
        asides: Additional prompts on single frames, with a box or a click, in each window.
        scene_share: Share of clips that are generated scenes of the package.
        vanish_share: Share of pasted objects that vanish for a while, see :func:`~training.clip.compose_clip`.
        long_share: Share of batches with long clips, trained a window at a time; such a batch takes many steps.
        long_min: Shortest long clip.
        long_max: Longest long clip.
        long_window: Frames of a window of long clips.
        long_gap_max: As ``gap_max``, for long clips.
    """

    until: float
    sides_px: tuple[int, ...]
    frames_min: int
    frames_max: int
    frame_budget: int
    objects_per_clip: int = 3
    gap_max: float = 3.0
    prompt_shares: tuple[float, float, float] = (0.7, 0.15, 0.15)
    correction_share: float = 0.3
    asides: int = 1
    scene_share: float = 0.15
    vanish_share: float = 0.0
    long_share: float = 0.0
    long_min: int = 16
    long_max: int = 60
    long_window: int = 4
    long_gap_max: float = 1.5


def phase_at(phases: Sequence[Phase], progress: float) -> Phase:
    """Return the phase at that progress; the last one after its end."""
    return next((phase for phase in phases if progress < phase.until), phases[-1])


def rate_factor(step: int, progress: float, *, warmup_steps: int, cooldown: float) -> float:
    """Return the share of the full learning rate.

    Args:
        step: Step, from 0.
        progress: Progress in 0..1.
        warmup_steps: Number of steps during which the rate rises linearly.
        cooldown: Share of the run, at its end, in which the rate falls to a hundredth along a half cosine.
    """
    rise = min(1.0, (step + 1) / warmup_steps)
    if progress <= 1 - cooldown:
        return rise
    fall = min(1.0, (progress - (1 - cooldown)) / cooldown)
    return rise * (0.01 + 0.99 * (1 + math.cos(math.pi * fall)) / 2)


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run.

    Attributes:
        phases: In order; the last one's ``until`` is 1.
        validation: Settings of validation clips, made of held-out material; ``until`` is not used.
        validation_batches: Number of batches, the same ones for each kind of prompt.
        scene_batches: Number of batches of generated scenes, with mask prompts.
    """

    phases: tuple[Phase, ...]
    validation: Phase
    validation_batches: int
    scene_batches: int = 0


PLANS = {
    # The run that makes streamseg-nano. Batches fit a CPU; ``--scale`` multiplies them on a GPU.
    "full": Plan(
        phases=(Phase(0.15, (128,), 2, 4, 32), Phase(0.45, (192,), 2, 5, 24), Phase(1.00, (256,), 3, 6, 20)),
        validation=Phase(1.0, (256,), 5, 5, 20, gap_max=2.0, asides=0, scene_share=0.0),
        validation_batches=6,
    ),
    # The same with more memory in the loop, for a GPU with an hour or more.
    "long": Plan(
        phases=(Phase(0.15, (128,), 2, 3, 24), Phase(0.40, (192,), 2, 4, 24), Phase(1.00, (256,), 3, 8, 24)),
        validation=Phase(1.0, (256,), 8, 8, 32, gap_max=2.0, asides=0, scene_share=0.0),
        validation_batches=6,
    ),
    # Continues from weights that can already track: half of the steps are windows of long clips, with many prompts.
    "further": Plan(
        phases=(
            Phase(
                1.00,
                (256, 320),
                3,
                8,
                16,
                prompt_shares=(0.5, 0.25, 0.25),
                asides=2,
                scene_share=0.35,
                vanish_share=0.25,
                long_share=0.1,
            ),
        ),
        validation=Phase(
            1.0, (256,), 60, 60, 20, asides=0, scene_share=0.0, long_share=1.0, long_min=60, long_window=5
        ),
        validation_batches=2,
        scene_batches=1,
    ),
    # Shows within seconds that the loss falls and the exported weights load.
    "proof": Plan(
        phases=(Phase(1.00, (64,), 2, 3, 12, gap_max=0.5),),
        validation=Phase(1.0, (64,), 3, 3, 6, gap_max=0.5, asides=0, scene_share=0.0),
        validation_batches=1,
    ),
}

"""A memory bank of colored discs, for tests of the policy ``contact``; a given mask stands for the decoder's."""

from __future__ import annotations

import torch
from torch import Tensor

from streamseg.tracker.preprocess import MEAN, STD
from streamseg.tracker.sam2.appearance import colors_of, look_of
from streamseg.tracker.sam2.memory_bank import BankShape, MemoryBank
from streamseg.tracker.sam2.memory_policy import MemoryPolicy

CONTACT = MemoryPolicy("contact")
SIDE = 32
BOTH = torch.arange(2)
Color = tuple[float, float, float]
RED, BLUE, SKY = (0.8, 0.1, 0.1), (0.1, 0.1, 0.8), (0.5, 0.5, 0.5)
_MEAN, _STD = torch.tensor(MEAN), torch.tensor(STD)


def disc(x: float, y: float = SIDE / 2, radius: float = 4.0) -> Tensor:
    """A mask with one disc."""
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return (columns - x) ** 2 + (rows - y) ** 2 < radius**2


def normalized(*colors: Color) -> Tensor:
    """Colors ``[N, 3]`` as the model sees them."""
    return (torch.tensor(colors) - _MEAN) / _STD


def picture(*painted: tuple[Tensor, Color]) -> Tensor:
    """The colors of a picture of 128 pixels with colored masks; the last one is on top."""
    image = torch.tensor(SKY)[:, None, None].repeat(1, SIDE, SIDE)
    for mask, color in painted:
        image[:, mask] = torch.tensor(color)[:, None]
    image = (image - _MEAN[:, None, None]) / _STD[:, None, None]
    return colors_of(image[None].repeat_interleave(4, 2).repeat_interleave(4, 3), SIDE)[0]


def bank_of(streams: list[int], *looks: Color) -> MemoryBank:
    """A bank whose lanes hold objects of these colors, prompted on frame 0."""
    bank = MemoryBank(BankShape(SIDE * SIDE // 16, 4, 4, policy=CONTACT), len(streams), torch.device("cpu"))
    for lane, stream in enumerate(streams):
        bank.assign(lane, stream)
        look = look_of(picture((disc(16), looks[lane % len(looks)])), disc(16))
        bank.write_conditioning(lane, 0, 0, torch.zeros(64, 4), torch.zeros(4), look)
    return bank


def follow(bank: MemoryBank, frame: int, masks: Tensor, colors: Tensor, lanes: Tensor = BOTH) -> Tensor:
    """Track a frame on which the decoder gives these masks, and return the masks that are left of them."""
    frames = torch.full_like(lanes, frame)
    others = bank.evidence(lanes, frames, colors.expand(len(lanes), -1, -1))
    bank.recall(lanes, frames, 1, others=others)
    logits = torch.where(masks, 8.0, -8.0) - others.lowered
    numbers = torch.full((len(lanes), 64, 4), float(frame))
    bank.write_tracked(lanes, frames, numbers, torch.zeros(len(lanes), 4), torch.ones(len(lanes)))
    bank.write_masks(lanes, frames, logits, others)
    return logits > 0

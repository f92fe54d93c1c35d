from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from streamseg.tracker import torch_private
from streamseg.tracker.sam2.memory_bank import BankShape, MemoryBank
from streamseg.tracker.sam2.ranged_attention import VARLEN_KERNELS, KeyRanges, VarlenAttention, attend_ranges_masked
from tests.tracker.sam2.flash_stand_in import flash_on_cpu

TOKENS, KEYS, CHANNELS = 5, 40, 16
RANGES = [(0, 40), (0, 1), (39, 1), (7, 2), (3, 31), (11, 16)]


@pytest.fixture
def flash() -> Iterator[list[dict[str, Any]]]:
    with flash_on_cpu() as calls:
        yield calls


def inputs(ranges: list[tuple[int, int]]) -> tuple[Tensor, Tensor, Tensor, KeyRanges]:
    generator = torch.Generator().manual_seed(0)
    lanes = len(ranges)
    q = torch.randn(lanes, TOKENS, CHANNELS, generator=generator)
    k, v = (torch.randn(lanes, KEYS, CHANNELS, generator=generator) for _ in range(2))
    return q, k, v, KeyRanges(*torch.tensor(ranges, dtype=torch.int32).unbind(1))


def wanted(q: Tensor, k: Tensor, v: Tensor, ranges: list[tuple[int, int]]) -> Tensor:
    """Each lane by itself, over nothing but its keys."""
    return torch.stack(
        [
            (q[lane] @ k[lane, start : start + length].T).softmax(dim=1) @ v[lane, start : start + length]
            for lane, (start, length) in enumerate(ranges)
        ]
    )


@pytest.mark.parametrize("ranges", [RANGES, RANGES[4:], RANGES[3:4]], ids=["six", "two", "one"])
@pytest.mark.parametrize(
    "kernel",
    [attend_ranges_masked, *VARLEN_KERNELS, VarlenAttention(6 * 7)],
    ids=lambda kernel: getattr(kernel, "__name__", str(kernel)),
)
def test_only_keys_in_the_range_are_read(kernel, ranges, flash) -> None:
    q, k, v, given = inputs(ranges)
    assert torch.allclose(kernel(q, k, v, given), wanted(q, k, v, ranges), atol=1e-5)


@pytest.mark.parametrize("splits", [1, 6, 12])
def test_values_outside_of_the_range_may_be_nan(splits: int, flash) -> None:
    q, k, v, given = inputs(RANGES)
    expected = wanted(q, k, v, RANGES)
    for lane, (start, length) in enumerate(RANGES):
        for x in (k, v):
            x[lane, :start] = x[lane, start + length :] = torch.nan
    assert torch.allclose(VarlenAttention(splits)(q, k, v, given), expected, atol=1e-5)


def test_the_inputs_of_the_kernel(flash) -> None:
    """As its documentation asks: int32, N + 1 cumulative positions, N lengths, tokens in one row after another."""
    q, k, v, given = inputs([(3, 31), (11, 16)])
    VarlenAttention(1)(q, k, v, given)
    VarlenAttention(4)(q, k, v, given)
    whole, halves = flash
    assert torch.equal(whole["q"], q.reshape(10, 1, CHANNELS))
    assert whole["cum_seq_q"].tolist() == [0, 5, 10]
    assert whole["cum_seq_k"].tolist() == [3, 51, 80]
    assert whole["seqused_k"].tolist() == [31, 16]
    assert torch.equal(halves["q"], q[[0, 0, 1, 1]].reshape(20, 1, CHANNELS))
    assert halves["cum_seq_q"].tolist() == [0, 5, 10, 15, 20]
    assert halves["cum_seq_k"].tolist() == [3, 19, 51, 59, 80]
    assert halves["seqused_k"].tolist() == [16, 15, 8, 8]


@pytest.mark.skipif(
    not torch_private.HAS_RANGED_ATTENTION, reason=f"torch {torch.__version__} has no attention to ranges"
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("splits", [1, 4])
def test_torchs_own_shapes_and_precision(splits: int, dtype: torch.dtype) -> None:
    q, k = (torch.empty(2, tokens, 256, dtype=dtype, device="meta") for tokens in (64, 640))
    ranges = KeyRanges(*(torch.empty(2, dtype=torch.int32, device="meta") for _ in range(2)))
    out = VarlenAttention(splits)(q, k, k, ranges)
    assert (out.shape, out.dtype) == (q.shape, dtype)


def test_the_flash_kernel_is_taken_wherever_it_stands(flash) -> None:
    """cuDNN, which torch would rather take where it can, has not what is needed."""
    q, k, v, given = inputs(RANGES)
    with sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION], set_priority=True):
        VarlenAttention(1)(q, k, v, given)
    assert len(flash) == 1
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION), pytest.raises(RuntimeError, match="num_splits is not supported"):
        VarlenAttention(1)(q, k, v, given)


def test_the_graph_reads_nothing_back(flash) -> None:
    torch._dynamo.reset()
    q, k, v, given = inputs(RANGES)
    kernel = torch.compile(VarlenAttention(12).__call__, backend="aot_eager", fullgraph=True, dynamic=False)
    assert torch.allclose(kernel(q, k, v, given), wanted(q, k, v, RANGES), atol=1e-5)
    torch._dynamo.reset()


def test_packed_slots_are_one_piece() -> None:
    """Lanes of different ages, with gaps and corrections, are put in order; nothing else of them changes."""
    shape = BankShape(tokens=2, memory_dim=1, pointer_dim=1, history_frames=3)
    bank = MemoryBank(shape, lanes=4, device=torch.device("cpu"))
    frame = 20
    for lane, (first, conditioning) in enumerate([(0, [0]), (17, [17]), (2, [2, 9, 16]), (0, [0, 19, 20])]):
        for now in range(first, frame):
            at = torch.tensor([lane]), torch.tensor([now])
            bank.write_tracked(*at, torch.full((1, 2, 1), now), torch.full((1, 1), now))
        for slot, now in enumerate(conditioning):
            bank.write_conditioning(lane, slot, now, torch.full((2, 1), 100.0 + now), torch.full((1,), 100.0 + now))
    lanes, frames = torch.tensor([3, 0, 2, 1]), torch.full((4,), frame)
    plain, packed = (bank.recall(lanes, frames, 4, packed=packed) for packed in (False, True))
    assert packed.features_valid.sum(dim=1).tolist() == [7, 7, 8, 3]
    assert packed.pointers_valid.sum(dim=1).tolist() == [16, 16, 16, 3]
    for lane in range(4):
        for before, after in (
            (
                (plain.features[lane, :, 0, 0], plain.features_age[lane], plain.features_valid[lane]),
                (packed.features[lane, :, 0, 0], packed.features_age[lane], packed.features_valid[lane]),
            ),
            (
                (plain.pointers[lane, :, 0], plain.pointer_age[lane], plain.pointers_valid[lane]),
                (packed.pointers[lane, :, 0], packed.pointer_age[lane], packed.pointers_valid[lane]),
            ),
        ):
            slots = [sorted(zip(*(x.tolist() for x in part), strict=True)) for part in (before, after)]
            assert slots[0] == slots[1]
        spatial, pointers = packed.features_valid[lane].tolist(), packed.pointers_valid[lane].tolist()
        assert spatial == sorted(spatial)
        assert pointers == sorted(pointers, reverse=True)
    # Lane 3: frame 20 is not in its own past, 19 is remembered as a conditioning frame alone.
    assert packed.features[0, -7:, 0, 0].tolist() == [100, 119, 18, 17, 16, 15, 14]
    assert packed.features_age[0, -7:].tolist() == [0, 0, 2, 3, 4, 5, 6]
    assert packed.pointers[0, :4, 0].tolist() == [100, 119, 18, 17]
    assert packed.pointer_age[0, :4].tolist() == [20, 1, 2, 3]

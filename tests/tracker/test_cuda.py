"""Parity on a CUDA device: eager, compiled and recorded as CUDA graphs, in float32 and bfloat16, padded batches."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base
from torch.nn.attention import SDPBackend

from streamseg.frame import Frame, FrameFormat, FrameStamps
from streamseg.tracker.compiled.buckets import Buckets
from streamseg.tracker.compiled.compile import CompiledEngine
from streamseg.tracker.compiled.cuda_graphs import CudaGraphRecorder
from streamseg.tracker.engine import Engine
from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.preprocess import Preprocessor
from streamseg.tracker.sam2.attention_backend import ANY_SHAPES, choose_backends
from streamseg.tracker.sam2.memory_bank import MemoryBank
from streamseg.tracker.sam2.memory_policy import SAM2, MemoryPolicy
from streamseg.tracker.sam2.ranged_attention import VARLEN_KERNELS, KeyRanges, VarlenAttention, attend_ranges_masked
from streamseg.tracker.sam2_tracker import Sam2Tracker
from streamseg.tracker.types import Prompt
from tests.tracker.tracker_scenes import Add, Events, Remove, Run, clip, difference, play, show

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.timeout(580),
]

BUCKETS = Buckets(lanes=(1, 2, 4), streams=(1, 2), pad=True)
TOLERANCE = 1e-2  # another device sums in another order
EVENTS: Events = {
    0: [Add(1, points=[(0.5, 0.5, 1)]), Add(2, box=(0.2, 0.2, 0.6, 0.7))],
    4: [Add(7, mask=(0.1, 0.1, 0.4, 0.5))],
    7: [Add(1, points=[(0.7, 0.6, 1)])],
    14: [Remove(2)],
    15: [Add(5, points=[(0.6, 0.6, 1)])],
}


@pytest.fixture(autouse=True)
def _full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture
def on_cuda(small: SAM2Base) -> SAM2Base:
    return copy.deepcopy(small).cuda()


def tracked(
    model: SAM2Base,
    images: torch.Tensor,
    engine: object = Engine,
    dtype: torch.dtype | None = None,
    policy: MemoryPolicy = SAM2,
) -> Run:
    model = copy.deepcopy(model)  # a predictor keeps it in its own precision
    show(model, 0)
    predictor = CameraPredictor(model, autocast=dtype, policy=policy, engine=engine)  # type: ignore[arg-type]
    predictor.warm_up(lambda what, share: None)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    run = play(predictor, images.to(model.device), EVENTS)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before
    return Run(
        *(
            {key: tuple(value.cpu() for value in pair) for key, pair in part.items()}
            for part in (run.tracked, run.prompted)
        )
    )


def test_eager_equals_the_cpu(small: SAM2Base, on_cuda: SAM2Base) -> None:
    images = clip(32, small.image_size)
    found = difference(tracked(small, images), tracked(on_cuda, images))
    assert found.agreement > 0.99, found
    assert found.logits < TOLERANCE, found


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["float32", "bfloat16"])
def test_cuda_graphs_equal_eager(on_cuda: SAM2Base, dtype: torch.dtype | None) -> None:
    torch._dynamo.reset()
    images = clip(32, on_cuda.image_size)
    engine = partial(CompiledEngine, buckets=BUCKETS)
    found = difference(tracked(on_cuda, images, dtype=dtype), tracked(on_cuda, images, engine, dtype))
    torch._dynamo.reset()
    # Rounding to bfloat16 is fed back through memory; kernels that fuse round less often.
    assert found.agreement > (0.99 if dtype is None else 0.9), found
    assert dtype is not None or found.logits < TOLERANCE, found


def test_objects_that_touch_in_cuda_graphs(on_cuda: SAM2Base) -> None:
    """Their colors are compared on the device: nothing is read from it or copied to it while a graph is recorded."""
    images, policy = clip(24, on_cuda.image_size), MemoryPolicy("contact")
    engine = partial(CompiledEngine, buckets=BUCKETS, backend="eager")
    found = difference(tracked(on_cuda, images, policy=policy), tracked(on_cuda, images, engine, policy=policy))
    torch._dynamo.reset()
    assert found.agreement > 0.99, found


def test_a_bank_that_grows(on_cuda: SAM2Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs recorded for the smaller bank would write to freed memory."""
    torch._dynamo.reset()
    monkeypatch.setattr(CompiledEngine, "initial_lanes", 2)
    images = clip(24, on_cuda.image_size)
    engine = partial(CompiledEngine, buckets=Buckets(lanes=(1, 4), streams=(1,), pad=True))
    grown: list[CompiledEngine] = []
    monkeypatch.setattr(CompiledEngine, "bank_grew", counted(CompiledEngine.bank_grew, grown))
    found = difference(tracked(on_cuda, images), tracked(on_cuda, images, engine))
    torch._dynamo.reset()
    assert [each.rerecordings for each in grown] == [1]  # to 4 lanes, one of them for padding
    assert found.agreement > 0.99, found
    assert found.logits < TOLERANCE, found


def counted(
    grow: Callable[[CompiledEngine, MemoryBank], None], seen: list[CompiledEngine]
) -> Callable[[CompiledEngine, MemoryBank], None]:
    def grow_and_note(engine: CompiledEngine, bank: MemoryBank) -> None:
        grow(engine, bank)
        seen.append(engine)

    return grow_and_note


def masks_of_streams(model: SAM2Base, engine: object, dtype: torch.dtype | None) -> torch.Tensor:
    """Three streams that get three objects each, one stream after another: 3, 6, then 9 lanes in a batch."""
    model = copy.deepcopy(model)
    show(model, 0)
    predictor = CameraPredictor(model, autocast=dtype, engine=engine)  # type: ignore[arg-type]
    predictor.warm_up(lambda what, share: None)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    names = ("a", "b", "c")
    images = {name: clip(24, model.image_size, seed=seed).to(model.device) for seed, name in enumerate(names)}
    for name in names:
        predictor.open_stream(name)
    found = []
    for frame in range(24):
        outputs = predictor.track({name: images[name][frame] for name in names})
        found += [output.mask_logits.flatten() > 0 for output in outputs.values()]
        if frame < len(names):
            for event in (*EVENTS[0], *EVENTS[4]):
                assert isinstance(event, Add)
                predictor.add_prompt(names[frame], event.obj_id, **event.arguments())
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before
    assert predictor.engine.rerecordings == 0
    return torch.cat(found).cpu()


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["float32", "bfloat16"])
def test_streams_in_one_batch(on_cuda: SAM2Base, dtype: torch.dtype | None) -> None:
    torch._dynamo.reset()
    engine = partial(CompiledEngine, buckets=Buckets(lanes=(1, 4, 8, 16), streams=(1, 4), pad=True))
    wanted, found = masks_of_streams(on_cuda, Engine, dtype), masks_of_streams(on_cuda, engine, dtype)
    torch._dynamo.reset()
    assert len(found) == len(wanted)
    assert (found == wanted).float().mean() > (0.99 if dtype is None else 0.9)


def test_frames_in_and_masks_out(small: SAM2Base) -> None:
    """The whole tracker, with streams of two sizes, compared with the CPU."""
    sizes = {"a": (160, 90), "b": (97, 120)}
    runs = []
    for device in ("cpu", "cuda"):
        model = copy.deepcopy(small).to(device)
        show(model, 0)
        tracker = Sam2Tracker(
            CameraPredictor(model), Preprocessor(model.image_size, torch.device(device), torch.float32)
        )
        tracker.warm_up(lambda what, share: None)
        for stream in sizes:
            tracker.open_stream(stream)
        results = []
        for number in range(6):
            frames = {stream: picture(number, size) for stream, size in sizes.items()}
            results += [result for held in tracker.track(frames).values() for result in held]
            if number == 0:
                for stream, (width, height) in sizes.items():
                    for obj_id, mask in enumerate(halves(width, height)):
                        tracker.add_prompt(stream, Prompt(obj_id, mask=mask))
        runs.append(results)
    assert len(runs[0]) == 20
    first, second, *_ = runs[0]
    assert (first.full_mask == second.full_mask).mean() < 0.985  # so that the masks can be told apart
    for on_cpu, on_cuda in zip(*runs, strict=True):
        assert (on_cuda.obj_id, on_cuda.size) == (on_cpu.obj_id, on_cpu.size)
        assert on_cuda.area == on_cuda.full_mask.sum()
        assert (on_cuda.full_mask == on_cpu.full_mask).mean() > 0.99


def halves(width: int, height: int) -> list[np.ndarray]:
    left = np.zeros((height, width), dtype=np.bool_)
    left[10:-10, 5 : width // 2 - 5] = True
    return [left, left[:, ::-1].copy()]


def picture(number: int, size: tuple[int, int]) -> Frame:
    fmt = FrameFormat(*size, "yuv420p")
    random = np.random.default_rng(number // 3)
    planes = tuple(
        np.kron(random.integers(16, 235, (rows // 5 + 1, columns // 5 + 1)), np.ones((5, 5)))[:rows, :columns]
        for rows, columns in fmt.plane_shapes
    )
    stamps = FrameStamps(0, "file", 0, 0, None, (1, 30))
    return Frame(number, 0, fmt, tuple(np.ascontiguousarray(plane, dtype=np.uint8) for plane in planes), stamps)


RANGES = [(0, 640), (0, 1), (639, 1), (100, 300), (333, 307), (7, 3)]


def lanes_and_ranges(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, KeyRanges]:
    generator = torch.Generator("cuda").manual_seed(0)
    q, k, v = (
        torch.randn(len(RANGES), tokens, 256, generator=generator, device="cuda").to(dtype) for tokens in (70, 640, 640)
    )
    return q / 16, k, v, KeyRanges(*torch.tensor(RANGES, dtype=torch.int32, device="cuda").t().contiguous().unbind())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kernel", [*VARLEN_KERNELS, VarlenAttention(6 * 4)], ids=str)
def test_ranges_equal_a_mask(kernel: VarlenAttention, dtype: torch.dtype) -> None:
    """Also that what lies outside is not read, and that a range may begin at any key."""
    q, k, v, ranges = lanes_and_ranges(dtype)
    wanted = attend_ranges_masked(q.float(), k.float(), v.float(), ranges)
    for lane, (start, length) in enumerate(RANGES):
        for x in (k, v):
            x[lane, :start] = x[lane, start + length :] = torch.nan
    assert torch.allclose(kernel(q, k, v, ranges).float(), wanted, atol=3e-2)


def test_a_recorded_graph_takes_other_ranges() -> None:
    q, k, v, ranges = lanes_and_ranges(torch.bfloat16)
    given = KeyRanges(*(x.flip(0).clone() for x in ranges))
    replay, out = CudaGraphRecorder(q.device).record(lambda: VarlenAttention(12)(q, k, v, given))
    for mine, other in zip(given, ranges, strict=True):
        mine.copy_(other)
    replay()
    assert torch.allclose(out.float(), attend_ranges_masked(q.float(), k.float(), v.float(), ranges), atol=3e-2)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_tracking_by_ranges_equals_masked(on_cuda: SAM2Base, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    images = clip(32, on_cuda.image_size)
    engine = partial(CompiledEngine, buckets=BUCKETS) if compiled else Engine
    runs = []
    for kernel in (None, VarlenAttention(4)):

        def choose(self: Engine, bank: object, kernel: VarlenAttention | None = kernel) -> None:
            self._step.attention.attend_ranges = kernel

        torch._dynamo.reset()
        monkeypatch.setattr(Engine, "choose_kernels", choose)
        runs.append(tracked(on_cuda, images, engine, torch.bfloat16))
    torch._dynamo.reset()
    # Rounding to bfloat16 is fed back through memory.
    assert difference(*runs).agreement > 0.9


def test_the_measurement_takes_ranges(on_cuda: SAM2Base) -> None:
    """For a memory of tiny at 512 pixels, recorded, where all that takes a mask is the memory-efficient kernel."""
    chosen = choose_backends(
        ANY_SHAPES,
        VARLEN_KERNELS,
        queries=1024,
        keys=7 * 1024 + 64,
        masked_keys=10 * 1024 + 76,
        channels=256,
        dtype=torch.bfloat16,
        device=on_cuda.device,
        as_run=lambda function: CudaGraphRecorder(on_cuda.device).record(function)[0],
    )
    assert chosen.ranges in VARLEN_KERNELS
    assert SDPBackend.FLASH_ATTENTION in chosen.in_order

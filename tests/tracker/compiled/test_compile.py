"""Compiled and recorded runs against the eager one. Dynamo's ``eager`` backend traces and guards without a compiler."""

from __future__ import annotations

import copy
import logging
import pickle
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base
from torch.nn.attention import SDPBackend

from streamseg.errors import ModelError
from streamseg.tracker import torch_private
from streamseg.tracker.background import BackgroundProcess
from streamseg.tracker.compiled import compile as compiling
from streamseg.tracker.compiled.buckets import Buckets, parts
from streamseg.tracker.compiled.compile import CompiledEngine, choose_compile
from streamseg.tracker.compiled.functions import CompiledFunctions, Job, compile_all
from streamseg.tracker.engine import Progress
from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.sam2.memory_bank import BankShape, MemoryBank
from streamseg.tracker.sam2.memory_policy import MemoryPolicy
from tests.tracker.tracker_scenes import (
    CLICK,
    STREAM,
    Add,
    Change,
    Events,
    Remove,
    clip,
    difference,
    happen,
    play,
    show,
)

SPLIT = Buckets(lanes=(1, 2), streams=(1, 2), pad=False)
PADDED = Buckets(lanes=(1, 4), streams=(1, 4), pad=True)
ONE = Buckets(lanes=(1,), streams=(1,), pad=False)
TOLERANCE = 1e-3
CONTACT = MemoryPolicy("contact")
TOUCHING = [Add(1, mask=(0.1, 0.1, 0.4, 0.5)), Add(2, mask=(0.5, 0.5, 0.9, 0.8))]
EVENTS: Events = {
    0: [CLICK, Add(2, box=(0.2, 0.2, 0.6, 0.7))],
    4: [Add(7, mask=(0.1, 0.1, 0.4, 0.5)), Add(8, points=[(0.2, 0.8, 1)]), Add(9, points=[(0.8, 0.2, 1)])],
    7: [Add(1, points=[(0.7, 0.6, 1)])],
    12: [Remove(2), Remove(9)],
    13: [Add(5, points=[(0.6, 0.6, 1)])],
}


class ReplayingRecorder:
    """Stands in for CUDA graphs: a replay computes again and writes into the recorded outputs."""

    def __init__(self) -> None:
        self.recorded = 0
        self.replayed = 0

    def record(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        self.recorded += 1
        outputs = function()

        def replay() -> None:
            self.replayed += 1
            for place, value in zip(outputs, function(), strict=True):
                place.copy_(value)

        return replay, outputs


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


@pytest.fixture
def two_threads() -> Iterator[None]:
    """What is compiled for one thread is other code."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def compiled(model: SAM2Base, buckets: Buckets, policy: MemoryPolicy | None = None, **options: Any) -> CameraPredictor:
    show(model, 0)
    options = {"backend": "eager"} | options
    return CameraPredictor(
        model, engine=partial(CompiledEngine, buckets=buckets, **options), policy=policy or MemoryPolicy("sam2")
    )


def quiet(what: str, share: float) -> None:
    assert 0 <= share <= 1, what


def graphs() -> int:
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


@pytest.mark.parametrize(
    ("partly_filled", "buckets"),
    [
        pytest.param("masked", SPLIT, id="as on a CPU", marks=pytest.mark.slow),
        pytest.param("ranged", PADDED, id="as on a CUDA device", marks=pytest.mark.slow),
        pytest.param("masked", PADDED, id="masked, padded", marks=pytest.mark.long),
        pytest.param("ranged", SPLIT, id="ranged, split", marks=pytest.mark.long),
    ],
    indirect=["partly_filled"],
)
def test_nothing_is_compiled_or_recorded_after_warm_up(
    small: SAM2Base, buckets: Buckets, partly_filled: Change
) -> None:
    """Objects join, leave, are corrected and differ in age; batches take every size. Outputs belong to the caller.

    Three streams of one call equal each alone, and padding does not spoil the bank.
    """
    images, recorder = clip(24, small.image_size), ReplayingRecorder()
    predictor = partly_filled(compiled(small, buckets, recorder=recorder))
    predictor.warm_up(quiet)
    prepared = graphs()
    assert recorder.recorded == prepared == len(buckets.streams) + 2 * len(buckets.lanes)
    run = play(predictor, images, EVENTS)
    first = predictor.track({STREAM: images[2]})[STREAM].mask_logits
    kept = first.clone()
    predictor.track({STREAM: images[3]})
    assert torch.equal(first, kept)
    assert recorder.recorded == graphs() == prepared
    assert recorder.replayed > len(images)
    found = difference(play(CameraPredictor(small), images, EVENTS), run)
    assert found.logits < TOLERANCE, found
    assert found.score < TOLERANCE, found
    predictor.close_stream(STREAM)
    assert_streams_of_one_call_equal_each_alone(predictor)
    assert recorder.recorded == graphs() == prepared
    assert all(getattr(predictor.bank, name).isfinite().all() for name in predictor.bank.FIELDS)


def assert_streams_of_one_call_equal_each_alone(together: CameraPredictor) -> None:
    model, names = together.model, ("a", "b", "c")
    show(model, 0)
    images = {name: clip(12, model.image_size, seed=seed) for seed, name in enumerate(names)}
    alone = CameraPredictor(model)
    for predictor in (together, alone):
        for name in names:
            predictor.open_stream(name)
    for frame in range(12):
        outputs = together.track({name: images[name][frame] for name in names})
        for name in names:
            wanted = alone.track({name: images[name][frame]})[name]
            assert torch.allclose(wanted.mask_logits, outputs[name].mask_logits, atol=1e-3)
            if frame == names.index(name):
                for predictor in (together, alone):
                    predictor.add_prompt(name, 1, **CLICK.arguments())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("buckets", "recorder"),
    [
        pytest.param(Buckets((1, 2), (1,), pad=False), None, id="compiled"),
        pytest.param(Buckets((4,), (1,), pad=True), ReplayingRecorder(), id="recorded"),
    ],
)
def test_a_growing_bank_records_all_graphs_again_and_compiles_nothing(
    small: SAM2Base,
    monkeypatch: pytest.MonkeyPatch,
    buckets: Buckets,
    recorder: ReplayingRecorder | None,
) -> None:
    """Nothing is compiled for it. All graphs are recorded again at once, and counted.

    All code is compiled for the chosen kernel of attention, and objects that touch give way to each other.
    """
    monkeypatch.setattr(CompiledEngine, "initial_lanes", 2)
    images, events = clip(12, small.image_size), {**EVENTS, 0: TOUCHING}
    traced: list[tuple[bool, bool]] = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> torch.fx.GraphModule:
        traced.append((torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()))
        return graph

    predictor = compiled(small, buckets, CONTACT, recorder=recorder, backend=backend)
    predictor.engine.kernels_in_order = [SDPBackend.MATH]
    predictor.warm_up(quiet)
    assert set(traced) == {(False, True)}
    prepared = graphs()
    recordings: list[int] = []
    if recorder is not None:
        grow = predictor.engine.bank_grew

        def counted(bank: MemoryBank) -> None:
            before = recorder.recorded
            grow(bank)
            recordings.append(recorder.recorded - before)

        monkeypatch.setattr(predictor.engine, "bank_grew", counted)
        at_warm_up = recorder.recorded
    run = play(predictor, images, events)
    assert predictor.bank.lanes == 8
    assert graphs() == prepared
    if recorder is not None:
        of_the_step = 2 * len(buckets.lanes)
        assert recordings == [of_the_step, of_the_step]  # to 4 lanes and to 8
        assert recorder.recorded == at_warm_up + sum(recordings)
        assert predictor.engine.rerecordings == 2
    assert difference(play(CameraPredictor(small, policy=CONTACT), images, events), run).logits < TOLERANCE


def test_objects_that_touch_are_tracked_otherwise(small: SAM2Base) -> None:
    """So the test above can fail."""
    images = clip(6, small.image_size)
    plain, touching = (
        play(CameraPredictor(small, policy=policy), images, {0: TOUCHING}) for policy in (MemoryPolicy("sam2"), CONTACT)
    )
    assert difference(plain, touching).logits > 10 * TOLERANCE


class HeldProcess:
    """Compiles when the test allows it. Its result are the functions as they are, so that nothing is compiled."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
        self.began, self.allowed = threading.Event(), threading.Event()
        self._error = error
        self._done = False

        def load_all(functions: CompiledFunctions, shape: BankShape, check: Callable[[], None]) -> bool:
            check()
            if self._done:
                functions._compiled = {sized.name: sized.function for sized in functions._sizes(shape)}
            return self._done

        monkeypatch.setattr(CompiledFunctions, "load_all", load_all)

    def run(self, task: object, job: Job, folder: Path, progress: Progress) -> None:
        assert task is compile_all
        pickle.loads(pickle.dumps(job))
        progress("compiling the step", 0.4)
        self.began.set()
        assert self.allowed.wait(300)
        if self._error is not None:
            raise self._error
        self._done = True

    def cancel(self) -> None:
        self.allowed.set()


needs_swap = pytest.mark.skipif(
    not torch_private.HAS_SAVED_FUNCTIONS, reason=f"torch {torch.__version__} compiles at the start, which waits for it"
)


def swapping(small: SAM2Base, process: HeldProcess, **options: Any) -> tuple[CameraPredictor, CompiledEngine]:
    predictor = compiled(small, PADDED, backend="inductor", wait=False, process=process, **options)
    predictor.warm_up(quiet)
    return predictor, cast(CompiledEngine, predictor.engine)


@needs_swap
@pytest.mark.parametrize("graphs_are_recorded", [False, True], ids=["compiled", "recorded"])
def test_the_swap_between_two_frames(
    small: SAM2Base, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, graphs_are_recorded: bool
) -> None:
    """No frame waits for more than one recording, and the same objects go on; the bank grows in the middle of it."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(CompiledEngine, "initial_lanes", 3)
    images, events = clip(16, small.image_size), {0: EVENTS[0], 7: EVENTS[4], 9: EVENTS[7], 13: [Remove(2)]}
    recorder = ReplayingRecorder() if graphs_are_recorded else None
    process = HeldProcess(monkeypatch)
    predictor, engine = swapping(small, process, recorder=recorder)
    assert process.began.wait(300)
    wanted = play(CameraPredictor(small), images, events)
    predictor.open_stream(STREAM)
    # Two sizes of the encoder and four of the step. After frame 7 the step's two are recorded again for a larger bank.
    swapped = 4 if recorder is None else 4 + 6 + 2
    for frame, image in enumerate(images):
        if frame == 4:
            process.allowed.set()
            engine.preparation.join(300)
        show(small, frame)
        before = 0 if recorder is None else recorder.recorded
        output = predictor.track({STREAM: image})[STREAM]
        assert engine.state == ("compiled" if frame >= swapped else "eager (compiling 40 %)"), frame
        if recorder is not None:
            assert recorder.recorded - before == (4 <= frame < swapped)
        for number, obj_id in enumerate(output.obj_ids):
            logits, _ = wanted.tracked[frame, obj_id]
            limit = TOLERANCE * float(logits.std())
            assert torch.allclose(logits, output.mask_logits[number], atol=limit), (frame, obj_id)
        happen(predictor, events.get(frame, ()))
    assert engine.rerecordings == 0
    assert ("CUDA graphs between frames, in" in caplog.text) == graphs_are_recorded


@needs_swap
def test_a_failed_compilation_leaves_eager_torch(
    small: SAM2Base, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(ReplayingRecorder):
        def record(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
            if self.recorded == 2:
                raise torch.OutOfMemoryError("no memory left")
            return super().record(function)

    images = clip(6, small.image_size)
    wanted = play(CameraPredictor(small), images, {0: [CLICK]})
    for error, recorder in ((RuntimeError("no compiler"), None), (None, Full())):
        process = HeldProcess(monkeypatch, error)
        predictor, engine = swapping(small, process, recorder=recorder)
        process.allowed.set()
        engine.preparation.join(300)
        assert difference(wanted, play(predictor, images, {0: [CLICK]})).logits < TOLERANCE
        assert engine.state == "eager (compilation failed)"
    assert "no compiler" in caplog.text
    assert "no memory left" in caplog.text


@pytest.mark.long
@pytest.mark.timeout(2400)
@pytest.mark.usefixtures("two_threads")
def test_real_compilation(small: SAM2Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process, while frames are tracked. Later starts compile nothing, also for other weights; the bank grows."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(CompiledEngine, "initial_lanes", 2)
    images = clip(24, small.image_size)
    events: Events = {0: [CLICK], 3: [Add(2, box=(0.2, 0.2, 0.6, 0.7))], 9: [Add(1, points=[(0.7, 0.6, 1)])]}
    kept: dict[str, int] = {}
    for start in ("first", "in the background", "waiting"):
        model = copy.deepcopy(small)
        if start != "first":
            torch.manual_seed(1)
            for weight in model.parameters():  # each of them, however small
                weight.data *= 1 + 0.02 * torch.rand_like(weight)
        show(model, 0)
        wanted = play(CameraPredictor(model), images, events)
        process = BackgroundProcess("normal")
        predictor = compiled(model, ONE, backend="inductor", wait=start == "waiting", process=process)
        predictor.warm_up(quiet)
        engine = cast(CompiledEngine, predictor.engine)
        if start != "waiting" and torch_private.HAS_SAVED_FUNCTIONS:
            assert engine.state.startswith("eager")
            play(predictor, images[:3], events)
            engine.preparation.join(2000)
            play(predictor, images[:1], {})
        assert engine.state == "compiled"
        written = {str(path): path.stat().st_mtime_ns for path in tmp_path.glob("streamseg/*/*")}
        if torch_private.HAS_SAVED_FUNCTIONS:
            assert {Path(path).name for path in written} == {"encode_1", "track_1_1_masked", "track_1_4_masked"}
            assert graphs() == 0
        assert written == kept or start == "first"
        kept = written
        prepared = graphs()
        run = play(predictor, images, events)
        assert predictor.bank.lanes > 2
        assert graphs() == prepared
        found = difference(wanted, run)
        assert found.logits < TOLERANCE, (start, found)
        assert found.agreement > 0.995, (start, found)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("partly_filled", ["ranged"], indirect=True)
def test_functionalized_graphs_of_ranges(small: SAM2Base, partly_filled: Change) -> None:
    images = clip(14, small.image_size)
    events: Events = {0: [CLICK], 3: [Add(2, box=(0.2, 0.2, 0.6, 0.7))], 9: [Add(1, points=[(0.7, 0.6, 1)])]}
    predictor = partly_filled(compiled(small, ONE, backend="aot_eager"))
    predictor.warm_up(quiet)
    prepared = graphs()
    run = play(predictor, images, events)
    assert graphs() == prepared == 3
    found = difference(play(CameraPredictor(small), images, events), run)
    assert found.logits < TOLERANCE, found
    assert found.agreement > 0.995, found


@pytest.mark.parametrize(
    ("count", "split", "padded"),
    [(1, [1], [1]), (2, [2], [4]), (3, [2, 1], [4]), (4, [4], [4]), (7, [4, 2, 1], [4, 4]), (9, [4, 4, 1], [4, 4, 1])],
)
def test_batches_are_split_into_prepared_sizes(count: int, split: list[int], padded: list[int]) -> None:
    assert parts(count, (1, 2, 4), pad=False) == split
    assert parts(count, PADDED.lanes, pad=True) == padded


def test_the_setting_chooses_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    assert not choose_compile("auto", cpu)
    assert choose_compile("auto", cuda)
    assert not choose_compile("off", cuda)
    monkeypatch.setattr(compiling.shutil, "which", lambda name: "/usr/bin/g++" if name == "g++" else None)
    assert choose_compile("on", cpu)
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    with pytest.raises(ModelError, match="C\\+\\+ compiler"):
        choose_compile("on", cpu)
    assert choose_compile("on", cuda)

"""OpenVINO's engine against the official predictor and against eager torch."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base

from streamseg.tracker.engine import Engine, Progress
from streamseg.tracker.openvino import engine as running
from streamseg.tracker.openvino import prepare as preparing
from streamseg.tracker.openvino.cache import NetworkCache
from streamseg.tracker.openvino.engine import OpenVinoEngine
from streamseg.tracker.openvino.network import Network
from streamseg.tracker.openvino.prepare import ENCODER, Job, Size
from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.sam2.step import TrackStep
from tests.tracker.conftest import OfficialRun
from tests.tracker.openvino.conftest import MakeEngine
from tests.tracker.openvino.switching_engine import Here, Prepare
from tests.tracker.test_parity import assert_close
from tests.tracker.tracker_scenes import (
    CLICK,
    HIDDEN,
    SCENARIOS,
    STREAM,
    Add,
    Events,
    Remove,
    clip,
    difference,
    frames_of,
    play,
    show,
)

EVENTS: Events = {
    0: [CLICK, Add(2, box=(0.2, 0.2, 0.6, 0.7))],
    4: [Add(7, mask=(0.1, 0.1, 0.4, 0.5)), Add(8, points=[(0.2, 0.8, 1)]), Add(9, points=[(0.8, 0.2, 1)])],
    6: [Add(1, points=[(0.7, 0.6, 1)])],
    8: [Remove(2), Remove(9)],
}
"""Five objects are tracked as two, two and one; the correction has all conditioning slots read."""
SHOWN = min(HIDDEN) - 1
"""Frames before the first on which ``play`` hides the objects by changing a weight."""


@pytest.fixture(autouse=True)
def _few_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile fewer networks: each takes a part of a second. All sizes are compiled in ``test_prepare.py``."""
    for module in (preparing, running):
        monkeypatch.setattr(module, "LANES", (1, 2))


def quiet(what: str, share: float) -> None:
    assert 0 <= share <= 1, what


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_parity(name: str, small: SAM2Base, official_run: OfficialRun, switching: MakeEngine) -> None:
    events = SCENARIOS[name]
    images = clip(frames_of(events), small.image_size)
    predictor = CameraPredictor(small, engine=switching)
    predictor.warm_up(quiet)
    assert_close(official_run(events), play(predictor, images, events))


class ConvertsWhenAllowed:
    """A conversion that waits until the test lets it go on."""

    def __init__(self, prepare: Prepare) -> None:
        self.began, self.allowed = threading.Event(), threading.Event()
        self._prepare = prepare

    def __call__(self, job: Job, folder: Path, progress: Progress) -> None:
        progress("waiting", 0.4)
        self.began.set()
        assert self.allowed.wait(300)
        self._prepare(job, folder, progress)


def test_the_device_is_that_of_torch_until_a_network_runs_elsewhere(small: SAM2Base, tmp_path: Path) -> None:
    """OpenVINO's AUTO stands for a device of Intel: it has a name, and is not called CPU."""
    engine = OpenVinoEngine(TrackStep(small, 7), None, weights="w", cache=NetworkCache(tmp_path), device="AUTO")
    assert engine.device == "cpu"
    engine._networks[ENCODER] = cast(Network, None)
    assert engine.device == "AUTO (AUTO)"
    engine._give_up(ENCODER, RuntimeError("lost"))
    assert engine.device == "cpu"


@pytest.mark.slow
def test_the_swap_between_two_frames(small: SAM2Base, tmp_path: Path, prepare_once: Prepare) -> None:
    """The first frames are eager; once everything is loaded, the same objects go on."""
    show(small, 0)
    images = clip(SHOWN, small.image_size)
    conversion = ConvertsWhenAllowed(prepare_once)
    engines: list[OpenVinoEngine] = []

    def make(step: object, autocast: torch.dtype | None) -> Engine:
        engines.append(OpenVinoEngine(step, autocast, cache=NetworkCache(tmp_path), process=Here(conversion)))  # type: ignore[arg-type]
        return engines[0]

    predictor = CameraPredictor(small, engine=make)
    predictor.warm_up(quiet)
    assert conversion.began.wait(300)
    (engine,) = engines
    wanted = play(CameraPredictor(small), images, EVENTS)
    predictor.open_stream(STREAM)
    for frame, image in enumerate(images):
        if frame == 5:
            assert not engine._networks
            conversion.allowed.set()
            engine.preparation.join(300)
        assert engine.state == ("openvino" if frame >= 5 else "eager (converting 40 %)")
        given = predictor.track({STREAM: image})[STREAM]
        for number, obj_id in enumerate(given.obj_ids):
            logits, _ = wanted.tracked[frame, obj_id]
            assert torch.allclose(logits, given.mask_logits[number], atol=1e-3 * float(logits.std())), (frame, obj_id)
        for event in EVENTS.get(frame, ()):
            if isinstance(event, Remove):
                predictor.remove_object(STREAM, event.obj_id)
            else:
                predictor.add_prompt(STREAM, event.obj_id, **event.arguments())


class Recorded(Network):
    """A network that notes which threads run it."""

    def __init__(self, compiled: Any) -> None:
        super().__init__(compiled)
        self.threads: set[int] = set()

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.threads.add(threading.get_ident())
        return super().__call__(*inputs)


def test_frames_while_the_networks_are_loaded(
    small: SAM2Base, tmp_path: Path, prepare_once: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cold start: each network takes over as soon as it is loaded, and only frames use it."""
    show(small, 0)
    monkeypatch.setattr("streamseg.tracker.openvino.network.Network", Recorded)
    frames_run = threading.Event()
    engines: list[OpenVinoEngine] = []

    def convert(job: Job, folder: Path, progress: Progress) -> None:
        assert frames_run.wait(300)
        prepare_once(job, folder, progress)

    def make(step: object, autocast: torch.dtype | None) -> Engine:
        engines.append(OpenVinoEngine(step, autocast, cache=NetworkCache(tmp_path), process=Here(convert)))  # type: ignore[arg-type]
        return engines[0]

    CameraPredictor(small, engine=make).warm_up(quiet)
    (engine,) = engines
    eager = CameraPredictor(small).engine
    images = [torch.randn(1, 3, small.image_size, small.image_size) for _ in range(4)]
    with torch.inference_mode():
        wanted = [eager.encode(image) for image in images]
        loading = True
        while loading:
            loading = engine.preparation.running
            for image, features in zip(images, wanted, strict=True):
                for given, level in zip(engine.encode(image)[:4], features[:4], strict=True):
                    assert torch.allclose(given, level, atol=1e-3 * float(level.std()))
            frames_run.set()
    assert engine.state == "openvino"
    networks = cast("dict[Size, Recorded]", engine._networks)
    assert networks.pop(ENCODER).threads == {threading.get_ident()}
    assert not any(network.threads for network in networks.values())


def test_threads_may_share_a_network(small: SAM2Base, tmp_path: Path, prepare_once: Prepare) -> None:
    engine = made(small, NetworkCache(tmp_path), process=Here(prepare_once)).engine
    network = engine._networks[ENCODER]
    images = [torch.randn(1, 3, small.image_size, small.image_size) for _ in range(2)]
    wanted = [network(image) for image in images]
    start = threading.Barrier(2)

    def run(number: int) -> bool:
        start.wait(60)
        return all(
            torch.allclose(given, level, atol=1e-3 * float(level.std()))
            for _ in range(100)
            for given, level in zip(network(images[number]), wanted[number], strict=True)
        )

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(run, range(2)))


def made(
    small: SAM2Base, cache: NetworkCache, autocast: torch.dtype | None = None, **options: object
) -> CameraPredictor:
    from copy import deepcopy

    show(small, 0)
    model = deepcopy(small) if autocast is not None else small  # the engine casts the weights
    predictor = CameraPredictor(
        model,
        autocast=autocast,
        engine=lambda step, dtype: OpenVinoEngine(step, dtype, wait=True, cache=cache, **options),  # type: ignore[arg-type]
    )
    predictor.warm_up(quiet)
    return predictor


@pytest.mark.slow
def test_bfloat16_agrees_as_well_as_torch_does(small: SAM2Base, tmp_path: Path, prepare_once: Prepare) -> None:
    """Each in bfloat16 against float32. Five objects: batches of two and one. OpenVINO's fused kernels fail this."""
    from copy import deepcopy

    images = clip(SHOWN, small.image_size)
    predictor = made(small, NetworkCache(tmp_path), torch.bfloat16, process=Here(prepare_once))
    wanted = play(CameraPredictor(small), images, EVENTS)
    eager = play(CameraPredictor(deepcopy(small), autocast=torch.bfloat16), images, EVENTS)
    given = difference(wanted, play(predictor, images, EVENTS))
    floor = difference(wanted, eager)
    assert given.agreement > floor.agreement - 0.01, (given, floor)
    assert given.logits < 2 * floor.logits, (given, floor)
    assert given.score < 2 * floor.score, (given, floor)


def test_a_truncated_network_is_made_again(small: SAM2Base, tmp_path: Path, prepare_once: Prepare) -> None:
    conversions: list[Path] = []

    def counted(job: Job, folder: Path, progress: Progress) -> None:
        conversions.append(folder)
        prepare_once(job, folder, progress)

    for damaged in ("none", ENCODER.file, Size(2, 4).file):
        for path in tmp_path.glob(f"*/{damaged}"):
            path.write_bytes(path.read_bytes()[:-1000])
        assert made(small, NetworkCache(tmp_path), process=Here(counted)).engine.state == "openvino"
    assert len(conversions) == 3
    made(small, NetworkCache(tmp_path), process=Here(counted))
    assert len(conversions) == 3


def test_a_failed_conversion_leaves_eager_torch(
    small: SAM2Base, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(job: Job, folder: Path, progress: Progress) -> None:
        raise RuntimeError("no rule for aten::nothing")

    predictor = made(small, NetworkCache(tmp_path), process=Here(fail))
    assert predictor.engine.state == "eager (OpenVINO failed)"
    assert "no rule for aten::nothing" in caplog.text
    images = clip(3, small.image_size)
    assert_close(play(CameraPredictor(small), images, {0: [CLICK]}), play(predictor, images, {0: [CLICK]}))
    assert not list(tmp_path.iterdir())


def test_the_end_does_not_wait_for_the_process(small: SAM2Base, tmp_path: Path) -> None:
    started, killed = threading.Event(), threading.Event()

    def hang(job: Job, folder: Path, progress: Progress) -> None:
        started.set()
        assert killed.wait(300)

    engines: list[OpenVinoEngine] = []

    def make(step: TrackStep, autocast: torch.dtype | None) -> Engine:
        engines.append(OpenVinoEngine(step, autocast, cache=NetworkCache(tmp_path), process=Here(hang)))
        return engines[0]

    CameraPredictor(small, engine=make).warm_up(quiet)
    assert started.wait(60)
    engines[0].preparation.stop()
    assert engines[0].preparation.running
    killed.set()
    engines[0].preparation.join(60)
    assert not list(tmp_path.iterdir())


STOPS_WHILE_LOADING = """
import sys, threading, torch
from pathlib import Path
from streamseg.tracker.openvino import engine as module
from streamseg.tracker.openvino import prepare as preparing
from streamseg.tracker.openvino.cache import NetworkCache
from tests.tracker.openvino.switching_engine import Here
step, bank, name = torch.load(sys.argv[1], weights_only=False)
loading = threading.Event()
load_network = module.load_network

def load(*arguments):
    if threading.current_thread() is not threading.main_thread():
        loading.set()
    return load_network(*arguments)

module.load_network = load
module.LANES = preparing.LANES = (1, 2)
torch.set_num_threads(1)
engine = module.OpenVinoEngine(step, None, cache=NetworkCache(Path(sys.argv[2])), process=Here(None))
engine._name = lambda shape: name
engine.warm_up(bank, 0, lambda *part: None)
assert loading.wait(60)
"""


def test_a_process_that_ends_while_networks_are_loaded(small: SAM2Base, tmp_path: Path, prepare_once: Prepare) -> None:
    """The interpreter must not end under a thread that runs OpenVINO: that aborts the process."""
    (tmp_path / "cache").mkdir()
    predictor = made(small, NetworkCache(tmp_path / "cache"), process=Here(prepare_once))
    (folder,) = (tmp_path / "cache").iterdir()
    torch.save((predictor.step, predictor.bank, folder.name), tmp_path / "input")
    done = subprocess.run(
        [sys.executable, "-c", STOPS_WHILE_LOADING, str(tmp_path / "input"), str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")

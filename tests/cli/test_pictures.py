"""`streamseg automask` and `streamseg segment` on real files, with nano at a small size."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from typer.testing import CliRunner

from streamseg.cli import segment
from streamseg.cli.app import app
from streamseg.cli.pictures import OutputNames, SkippedPictureError
from streamseg.config.yaml import read_document
from streamseg.images.parameters import PRESETS, parameters
from streamseg.sources.scene.source import Scene
from tests.cli.executable import CommandLine, Streamseg

CONFIG = Path(__file__).parents[2] / "configs" / "automask.yaml"
SMALL = ["--image-size", "128", "--device", "cpu", "--points-per-side", "4"]
Invoke = Callable[..., Any]

# pycocotools does not know NumPy 2's `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Invoke:
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in (1, 2, 10):
        cv2.imwrite(str(folder / f"{number}.png"), Scene("scene:simple?size=160x96").render(30 * number)[:, :, ::-1])
    return folder


def test_a_folder_with_broken_empty_and_huge_pictures(
    pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (pictures / "empty.png").write_bytes(b"")
    (pictures / "broken.png").write_bytes((pictures / "1.png").read_bytes()[:400])
    huge = b"P6\n100000 100000\n255\n"
    (pictures / "huge.ppm").write_bytes(huge)
    command = CommandLine(tmp_path, {})
    done = command("automask", pictures, tmp_path / "none.jpg", "-o", tmp_path / "out", "--coco", *SMALL)
    assert done.returncode == 4
    names = ("empty.png", "broken.png", "huge.ppm", "none.jpg")
    skipped = [line for line in done.stderr.splitlines() if line.startswith("skipped: ")]
    assert len(skipped) == len(names)
    assert all(any(name in line for line in skipped) for name in names)
    assert any("empty.png: the file is empty" in line for line in skipped)
    assert "4 of 7 skipped" in done.stderr
    assert "WARN" not in done.stderr + capfd.readouterr().err  # nor from OpenCV itself
    lines = done.stdout.splitlines()
    assert [Path(line.partition(":")[0]).name for line in lines] == ["1.png", "2.png", "10.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("1.masks.png", "10.masks.png", "2.masks.png", "coco.json"),
    ]


def test_json_and_coco_hold_the_same_masks(invoke: Invoke, pictures: Path, tmp_path: Path) -> None:
    low = ["--pred-iou-thresh", "0.1", "--stability_score_thresh", "0.1"]
    done = invoke("automask", pictures / "1.png", "-o", tmp_path / "out", "--json", "--coco", *SMALL, *low)
    assert done.exit_code == 0
    (line,) = done.stdout.splitlines()
    printed = json.loads(line)
    assert (printed["width"], printed["height"]) == (160, 96)
    dataset = COCO(str(tmp_path / "out" / "coco.json"))
    annotations = dataset.loadAnns(dataset.getAnnIds())
    assert len(annotations) == len(printed["masks"]) > 0
    for annotation, record in zip(annotations, printed["masks"], strict=True):
        mask = coco_mask.decode(record["segmentation"])
        np.testing.assert_array_equal(dataset.annToMask(annotation), mask)
        assert annotation["area"] == record["area"] == mask.sum()
        assert 0.1 <= record["predicted_iou"] <= 1


def test_json_goes_to_the_pipe_while_a_terminal_shows_progress(streamseg: Streamseg, pictures: Path) -> None:
    terminal, end = pty.openpty()
    process = streamseg.start("automask", pictures / "1.png", "--json", *SMALL, stdout=subprocess.PIPE, stderr=end)
    os.close(end)
    printed, _ = process.communicate(timeout=300)
    os.close(terminal)
    assert process.returncode == 0
    assert json.loads(printed)["picture"].endswith("1.png")


def test_a_reader_that_leaves_early_is_not_an_error(streamseg: Streamseg, pictures: Path) -> None:
    process = streamseg.start("automask", pictures, "--json", *SMALL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    with process.stderr:
        said = process.stderr.read()
    assert process.wait(timeout=300) == 0
    assert said == ""


def test_styles_and_single_masks_of_one_picture(invoke: Invoke, pictures: Path, tmp_path: Path) -> None:
    shapes = {}
    for style in ((), ("--side-by-side", "--no-borders"), ("--transparent",)):
        out = tmp_path / "out" / "one.png"
        done = invoke("automask", pictures / "1.png", "-o", out, "--output-mode", "binary_mask", *style, *SMALL)
        assert done.exit_code == 0
        shapes[style] = cv2.imread(str(out), cv2.IMREAD_UNCHANGED).shape
    assert list(shapes.values()) == [(96, 160, 3), (96, 320, 3), (96, 160, 4)]
    for path in (tmp_path / "out" / "one").iterdir():
        assert set(np.unique(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))) == {0, 255}


def test_pictures_of_the_same_name_get_results_of_their_own(invoke: Invoke, pictures: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "1.png").write_bytes((pictures / "2.png").read_bytes())
    done = invoke("automask", pictures / "1.png", other, pictures / "1.png", *SMALL)
    assert done.exit_code == 0
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["1-2.masks.png", "1.masks.png"]


def test_the_settings_file_holds_the_presets(invoke: Invoke, pictures: Path) -> None:
    tree = read_document(CONFIG).tree
    assert tree["presets"].keys() == PRESETS.keys()
    for name, values in tree["presets"].items():
        assert parameters(values) == parameters(preset=name)
    done = invoke("automask", "--config", CONFIG, "--preset", "fast", pictures / "1.png", "--json", *SMALL)
    assert done.exit_code == 0


def test_options_override_settings_of_the_file(tmp_path: Path) -> None:
    from streamseg.cli.automask_settings import read_settings

    file = tmp_path / "own.yaml"
    file.write_text(
        "model: {name: tiny, device: cpu}\npreset: mine\n"
        "presets: {mine: {points_per_side: 8, pred_iou_thresh: 0.5}}\nparameters: {pred_iou_thresh: 0.6}\n"
    )
    found = read_settings(file, None, {"crop_n_layers": 1, "exact": None}, {"name": "nano", "dtype": None})
    assert found.model == {"name": "nano", "device": "cpu"}
    values = found.checked("nano")
    assert (values.points_per_side, values.pred_iou_thresh, values.crop_n_layers) == (8, 0.6, 1)
    assert read_settings(file, "fine", {}, {}).checked(None).use_m2m


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("preset: best", "preset 'best' is unknown: expected one of reference, fine, fast"),
        ("parameters:\n  point_per_side: 3", "own.yaml:2: parameters.point_per_side: there is no such setting"),
        ("models: {}", "own.yaml:1: models: there is no such setting: expected one of model"),
        ("presets: {mine: {x: 1}}", "presets.mine.x"),
        ("presets: 3", "presets is 3: expected names and values"),
        ("[1]", "the file is [1]"),
        ("parameters: {use_m2m: 3}", "use_m2m 3 is invalid"),
        ("model: {image_size: 100}", "image_size 100 is invalid"),
        ("model: {device: gpu}", "device 'gpu' is unknown"),
        ("model: {dtype: half}", "dtype 'half' is unknown"),
        ("preset: [fine]", "own.yaml:1: preset: ['fine'] is invalid: expected the name of a preset, such as fine"),
        ("preset: {a: 1}", "own.yaml:1: preset: {'a': 1} is invalid"),
        ("preset: 3", "preset: 3 is invalid"),
        ("preset: best\npresets: {1: {}}", "preset 'best' is unknown"),
        ("model:\n  name: [nano]", "own.yaml:2: model.name: ['nano'] is invalid: expected the name of a model"),
        ("model: {name: 3}", "model.name: 3 is invalid"),
        ("model: {config: {a: 1}}", "model.config: {'a': 1} is invalid"),
        ("model: {device: [cpu]}", "model.device: ['cpu'] is invalid: expected auto, cpu, cuda"),
        ("model: {dtype: 32}", "model.dtype: 32 is invalid: expected auto, float32"),
        ("model: {apply_postprocessing: often}", "apply_postprocessing: 'often' is invalid: expected true or false"),
        ("model: {image_size: [128]}", "image_size [128] is invalid"),
        ("parameters: {output_mode: [coco_rle]}", "output_mode ['coco_rle'] is unknown"),
        ("parameters: {points_per_side: {a: 1}}", "points_per_side {'a': 1} is invalid"),
        (f"parameters: {{points_per_batch: 1{'0' * 400}}}", "points_per_batch 1000"),
        ("parameters: {pred_iou_thresh: .nan}", "pred_iou_thresh nan is invalid"),
        ("parameters: {point_grids: {a: 1}}", "point_grids is invalid"),
        (f"parameters: {{point_grids: [[[1{'0' * 400}, 0]]]}}", "point_grids is invalid"),
        ("parameters: {1: 2}", "parameters.1: there is no such setting"),
    ],
)
def test_invalid_settings_files_are_refused(tmp_path: Path, pictures: Path, text: str, words: str) -> None:
    from streamseg.errors import ConfigError

    (tmp_path / "own.yaml").write_text(text)
    result = CliRunner().invoke(app, ["automask", "--config", str(tmp_path / "own.yaml"), str(pictures / "1.png")])
    assert isinstance(result.exception, ConfigError)
    assert words in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["automask", "in/1.png", "--show"], "--show: there is no display"),
        (["automask", "in/1.png", "--pred-iou-thresh", "3"], "pred_iou_thresh 3.0 is invalid"),
        (["automask", "in", "-o", "one.png"], "-o one.png is one file, but there are 3 pictures: give a folder"),
        (["automask", "in/1.png", "--transparent", "--side-by-side"], "exclude each other"),
        (["automask", "in/1.png", "--model", "color"], "has no network"),
        (["automask", "in/1.png", "--points-per-side", "4", "--point-grids", "grid.json"], "give exactly one of"),
        (["segment", "in/1.png"], "give --point, --box or --mask"),
        (["segment", "in/1.png", "--point", "200,5"], "200,5 is outside the picture of 160x96 pixels"),
        (["segment", "in/1.png", "--box", "20,5,3,40"], "is empty"),
        (["segment", "in/none.png", "--point", "1,1"], "in/none.png: there is no such file"),
        (["segment", "in", "--point", "1,1"], "in: it is not a file"),
        (["segment", "in/1.png", "--mask", "none.png"], "no such file): use a PNG of the picture's size"),
        (["segment", "in/1.png", "--mask", "in/none.png"], "cannot be read"),
    ],
)
def test_wrong_usage_is_explained(invoke: Invoke, arguments: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "grid.json").write_text("[[[0.5, 0.5]]]")
    result = invoke(*arguments)
    assert words in str(result.exception)


def test_an_empty_file_of_grids_is_an_error(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text("")
    result = invoke("automask", "in/1.png", "--point-grids", "grid.yaml")
    assert "--point-grids grid.yaml: the file is empty" in str(result.exception)


class _Failing:
    """Masks that raise an error when they are searched."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def find(self, picture: object) -> list[Any]:
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), NotImplementedError("no such operator")])
def test_an_internal_error_is_not_reported_as_a_bad_picture(pictures: Path, error: Exception) -> None:
    from streamseg.cli.automask import _find_in

    with pytest.raises(type(error), match=str(error)):
        _find_in(pictures / "1.png", _Failing(error), None)  # type: ignore[arg-type]


def test_a_picture_too_large_for_memory_is_skipped(pictures: Path) -> None:
    from streamseg.cli.automask import _find_in

    with pytest.raises(RuntimeError) as real:
        torch.empty(2**60, dtype=torch.uint8)
    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), real.value):
        with pytest.raises(SkippedPictureError, match=r"1\.png: there is not enough memory for this picture"):
            _find_in(pictures / "1.png", _Failing(error), None)  # type: ignore[arg-type]


def test_point_grids_are_read_from_a_file(invoke: Invoke, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "grid.json").write_text("[[[0.26, 0.32], [0.56, 0.33]]]")
    low = ["--pred-iou-thresh", "0", "--stability-score-thresh", "0", "--no-multimask-output", "--image-size", "128"]
    done = invoke("automask", pictures / "1.png", "--json", "--point-grids", tmp_path / "grid.json", *low)
    assert done.exit_code == 0
    points = {tuple(np.round(record["point_coords"][0], 1)) for record in json.loads(done.stdout)["masks"]}
    assert points
    assert points <= {(41.6, 30.7), (89.6, 31.7)}


def test_segment_prints_and_writes_candidates(invoke: Invoke, pictures: Path, tmp_path: Path) -> None:
    size = ["--image-size", "128", "--device", "cpu"]
    done = invoke("segment", pictures / "1.png", "--point", "26%,33%", "--candidates", 3, "-o", tmp_path / "out", *size)
    assert done.exit_code == 0
    assert done.stdout.count("predicted IoU") == 3
    assert cv2.imread(str(tmp_path / "out" / "1.segment.png")).shape == (96, 480, 3)
    masks = [cv2.imread(str(tmp_path / "out" / f"1.mask-{number}.png"), cv2.IMREAD_UNCHANGED) for number in (1, 2, 3)]
    assert all(mask.shape == (96, 160) and set(np.unique(mask)) <= {0, 255} for mask in masks)
    done = invoke("segment", pictures / "1.png", "--mask", tmp_path / "out" / "1.mask-1.png", "--json", *size)
    assert done.exit_code == 0
    (record,) = json.loads(done.stdout)["masks"]
    assert coco_mask.decode(record["segmentation"]).sum() == record["area"] > 0
    done = invoke("segment", pictures / "1.png", "--point", "26%,33%", "-o", tmp_path / "out" / "one.png", *size)
    assert (tmp_path / "out" / "one.mask.png").exists(), done.stdout


def test_nothing_found_is_said_with_what_to_do(
    invoke: Invoke, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = invoke("automask", pictures / "1.png", "--pred-iou-thresh", "1", *SMALL)
    assert done.exit_code == 0
    assert "0 masks" in done.stdout
    assert "1.png: nothing is good enough: lower --pred-iou-thresh" in done.stderr
    empty = np.zeros((96, 160), bool)
    segment._print(pictures / "1.png", (160, 96), [(empty, 0.02)], [], as_json=False)
    assert "nothing was found there: give a box" in capsys.readouterr().err
    segment._print(pictures / "1.png", (160, 96), [(empty, 0.02), (~empty, 0.9)], [], as_json=False)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("character", ["a", "ä", "名"])
def test_the_longest_names_of_pictures_leave_room_for_those_of_results(tmp_path: Path, character: str) -> None:
    picture = tmp_path / f"{character * (251 // len(character.encode()))}.png"
    picture.touch()
    for out in (tmp_path, picture):
        names = OutputNames(out, 1)
        for name in (names.stem(picture), names.stem(picture)):
            for file in (names.drawing(name, "segment"), tmp_path / f"{name}.mask-3.png"):
                file.touch()

"""``streamseg segment``: segment one prompted object in a picture."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamseg.cli import pictures
from streamseg.cli.print_line import print_line
from streamseg.cli.prompt_options import CoordsOption, check_marks, prompt_of
from streamseg.errors import ConfigError, PromptError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def segment(
    picture: Annotated[Path, typer.Argument(metavar="PICTURE", help="A picture file.")],
    point: Annotated[
        list[str] | None,
        typer.Option(metavar="X,Y", help="A point on the object; X,Y,0 is one not on it. In pixels, or 50%,40%."),
    ] = None,
    box: Annotated[str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="A box around the object.")] = None,
    mask: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A rough mask to improve, of the picture's size; not black is the object."),
    ] = None,
    coords: CoordsOption = None,
    candidates: Annotated[
        int, typer.Option(min=1, max=3, metavar="N", help="How many masks to offer, best first: 1 to 3.")
    ] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="OUT",
            help="Folder of the results, or a .png file for the drawn picture. Default: masks; with --json or --show "
            "nothing is drawn without it.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Show the result in a window; q closes it.")] = False,
    model: pictures.ModelOption = None,
    model_config: pictures.ModelConfigOption = None,
    image_size: pictures.ImageSizeOption = None,
    device: pictures.DeviceOption = None,
    dtype: pictures.DtypeOption = None,
) -> None:
    """Segment one object in a picture, as SAM 2's image predictor does.

    [bold]Examples[/bold]

      streamseg segment street.jpg --point 320,240 --candidates 3

      streamseg segment street.jpg --box 100,80,420,400 -o car.png
    """
    prompt = prompt_of(point or [], box, mask, coords)
    if prompt is None:
        raise ConfigError("nothing to segment: give --point, --box or --mask")
    check_marks(prompt)
    if show:
        pictures.check_window()
    names = pictures.OutputNames(out or pictures.DEFAULT_OUT, 1)
    image = pictures.read_picture(picture)
    arguments = _in_pixels(prompt, (image.shape[1], image.shape[0]))

    from streamseg.images.segmenter import Segmenter

    segmenter = Segmenter(
        pictures.load(
            {"name": model, "config": model_config, "image_size": image_size, "device": device, "dtype": dtype}
        )
    )
    segmenter.set_image(image)
    found = segmenter.segment(**arguments, candidates=candidates)
    files = []
    draws = out is not None or not (as_json or show)
    if draws or show:
        drawn = _draw(image, found)
    if draws:
        stem = names.stem(picture)
        file = names.drawing(stem, "segment")
        pictures.write_png(file, drawn)
        files = [file]
        for number, (pixels, _) in enumerate(found, 1):
            suffix = "" if candidates == 1 else f"-{number}"
            files.append(file.with_name(f"{stem}.mask{suffix}.png"))
            pictures.write_png(files[-1], pixels.view("uint8") * 255)
    _print(picture, (image.shape[1], image.shape[0]), found, files, as_json)
    if show:
        pictures.show(str(picture), drawn)


def _in_pixels(prompt: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """Return the arguments of ``Segmenter.segment`` for a prompt on a picture of (width, height).

    Raises:
        PromptError: It is outside the picture, or malformed.
    """
    from streamseg.common.mask_file import read_mask
    from streamseg.protocol.prompt_rules import part_problems

    scale = size if prompt.get("coords") == "normalized" else (1, 1)
    points = [(point[0] * scale[0], point[1] * scale[1], *point[2:]) for point in prompt.get("points", ())]
    corners = prompt.get("box")
    box = None if corners is None else tuple(value * scale[axis % 2] for axis, value in enumerate(corners))
    if points or box is not None:
        for problem in part_problems(points, box, has_mask=False):
            raise PromptError(problem.message)
    for x, y in [point[:2] for point in points] + ([box[:2], box[2:]] if box is not None else []):
        if not (0 <= x <= size[0] and 0 <= y <= size[1]):
            raise PromptError(f"{x:g},{y:g} is outside the picture of {size[0]}x{size[1]} pixels")
    mask = None if "mask" not in prompt else read_mask(Path(prompt["mask"]))
    return {"points": points, "box": box, "mask": mask}


def _draw(image: NDArray[np.uint8], found: list[tuple[NDArray[np.bool_], float]]) -> NDArray[np.uint8]:
    """Return copies of the picture side by side, each with one mask drawn over it."""
    from streamseg.images.overlay import overlay, side_by_side
    from streamseg.images.records import found_mask

    return side_by_side(*(overlay(image, [found_mask(mask, score)]) for mask, score in found))


def _print(
    path: Path,
    size: tuple[int, int],
    found: list[tuple[NDArray[np.bool_], float]],
    files: list[Path],
    as_json: bool,
) -> None:
    from streamseg.cli.message_lines import plain
    from streamseg.images.records import coco_rle, found_mask

    if not as_json:
        for number, (mask, score) in enumerate(found, 1):
            share = 100 * mask.mean()
            print_line(f"mask {number}: {mask.sum()} pixels ({share:.1f} %), predicted IoU {score:.2f}")
        if not any(mask.any() for mask, _ in found):
            print("nothing was found there: give a box around the object, or a larger model (--model)", file=sys.stderr)
        for file in files:
            print_line(plain(str(file)))
        return
    masks = [
        {
            "segmentation": coco_rle(mask),
            "area": int(mask.sum()),
            "bbox": list(found_mask(mask, score).roi),
            "predicted_iou": score,
        }
        for mask, score in found
    ]
    pictures.print_json(path, size, masks)

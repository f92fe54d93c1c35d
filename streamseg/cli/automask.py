"""``streamseg automask``: find everything in pictures, without a prompt."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from streamseg.cli import pictures
from streamseg.cli.automask_settings import read_settings
from streamseg.cli.pictures import SkippedPictureError
from streamseg.cli.print_line import print_line
from streamseg.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from streamseg.images.automatic import AutomaticMasks
    from streamseg.images.coco import CocoFile
    from streamseg.images.found_mask import FoundMask

COCO_FILE: Final = "coco.json"
_WHAT = "What is found (names, defaults and meaning of SAM2AutomaticMaskGenerator)"
_RESULT = "Results"
_MODEL = "Model"


def _number(help_text: str) -> Any:
    return typer.Option(metavar="X", help=help_text, rich_help_panel=_WHAT)


def automask(
    picture: Annotated[
        list[str], typer.Argument(metavar="PICTURE...", help="Picture files, folders, or quoted patterns ('in/*.jpg').")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="OUT",
            help="Folder of the results, or a .png file for one picture. Default: masks; with --json or --show nothing "
            "is drawn without it.",
            rich_help_panel=_RESULT,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per picture.", rich_help_panel=_RESULT)
    ] = False,
    coco: Annotated[
        bool, typer.Option("--coco", help=f"Write OUT/{COCO_FILE} with all masks.", rich_help_panel=_RESULT)
    ] = False,
    show: Annotated[
        bool, typer.Option("--show", help="Show each picture in a window; q goes on.", rich_help_panel=_RESULT)
    ] = False,
    borders: Annotated[
        bool, typer.Option("--borders/--no-borders", help="Draw smooth borders.", rich_help_panel=_RESULT)
    ] = True,
    side_by_side: Annotated[
        bool, typer.Option("--side-by-side", help="Put the input next to the result.", rich_help_panel=_RESULT)
    ] = False,
    transparent: Annotated[
        bool,
        typer.Option("--transparent", help="Draw the masks alone, on a transparent PNG.", rich_help_panel=_RESULT),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Settings in YAML, see configs/automask.yaml.", rich_help_panel=_WHAT),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="reference: sam2's defaults, for any model; fine: twice the points, crops, refined masks; fast: half "
            "the points. Or a preset of the file.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    points_per_side: Annotated[int | None, _number("Points along one side.")] = None,
    points_per_batch: Annotated[int | None, _number("Maximum number of points at once.")] = None,
    pred_iou_thresh: Annotated[float | None, _number("Minimum predicted IoU.")] = None,
    stability_score_thresh: Annotated[float | None, _number("Minimum stability score.")] = None,
    stability_score_offset: Annotated[float | None, _number("Offset of logits for the stability score.")] = None,
    mask_threshold: Annotated[float | None, _number("Logit above which a pixel belongs to a mask.")] = None,
    box_nms_thresh: Annotated[float | None, _number("Masks whose boxes have a higher IoU are duplicates.")] = None,
    crop_n_layers: Annotated[int | None, _number("Layers of crops, each with four times as many.")] = None,
    crop_nms_thresh: Annotated[float | None, _number("The same for masks of different crops.")] = None,
    crop_overlap_ratio: Annotated[float | None, _number("Overlap of crops.")] = None,
    crop_n_points_downscale_factor: Annotated[int | None, _number("Divides the points of each layer.")] = None,
    point_grids: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=r"YAML or JSON list of lists of \[x, y] in 0..1, one per layer; replaces the grid.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    min_mask_region_area: Annotated[
        float | None, _number("Fill holes and remove islands smaller than this, in pixels.")
    ] = None,
    output_mode: Annotated[
        str | None,
        typer.Option(
            metavar="MODE",
            help="Masks in --json: coco_rle (default) or uncompressed_rle. binary_mask: a PNG of each mask in "
            "OUT/NAME.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    use_m2m: Annotated[
        bool | None,
        typer.Option("--use-m2m/--no-use-m2m", help="Refine each mask once.", rich_help_panel=_WHAT),
    ] = None,
    multimask_output: Annotated[
        bool | None,
        typer.Option(
            "--multimask-output/--no-multimask-output", help="Three masks per point, or one.", rich_help_panel=_WHAT
        ),
    ] = None,
    exact: Annotated[
        bool | None,
        typer.Option("--exact", help="The reference's arithmetic, bit for bit; slower.", rich_help_panel=_WHAT),
    ] = None,
    model: pictures.ModelOption = None,
    model_config: pictures.ModelConfigOption = None,
    image_size: pictures.ImageSizeOption = None,
    device: pictures.DeviceOption = None,
    dtype: pictures.DtypeOption = None,
    apply_postprocessing: Annotated[
        bool | None,
        typer.Option(
            "--apply-postprocessing/--no-apply-postprocessing",
            help="As in sam2's build_sam2: replace an unstable single mask by the best of three. Default: off.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
) -> None:
    """Find the masks of everything in pictures, without a prompt.

    Pictures that are broken, empty or huge are named and skipped; then the exit code is 4.

    [bold]Examples[/bold]

      streamseg automask street.jpg

      streamseg automask photos/ -o masks --coco --preset fine
    """
    if transparent and side_by_side:
        raise ConfigError("--transparent and --side-by-side exclude each other: leave out one of them")
    settings = read_settings(
        config,
        preset,
        {
            "points_per_side": points_per_side,
            "points_per_batch": points_per_batch,
            "pred_iou_thresh": pred_iou_thresh,
            "stability_score_thresh": stability_score_thresh,
            "stability_score_offset": stability_score_offset,
            "mask_threshold": mask_threshold,
            "box_nms_thresh": box_nms_thresh,
            "crop_n_layers": crop_n_layers,
            "crop_nms_thresh": crop_nms_thresh,
            "crop_overlap_ratio": crop_overlap_ratio,
            "crop_n_points_downscale_factor": crop_n_points_downscale_factor,
            "point_grids": None if point_grids is None else _read_grids(point_grids),
            "min_mask_region_area": min_mask_region_area,
            "output_mode": output_mode,
            "use_m2m": use_m2m,
            "multimask_output": multimask_output,
            "exact": exact,
        },
        {
            "name": model,
            "config": model_config,
            "image_size": image_size,
            "device": device,
            "dtype": dtype,
            "apply_postprocessing": apply_postprocessing,
        },
    )
    settings.checked(None)  # before the model is loaded, which takes seconds
    if show:
        pictures.check_window()
    found = list(pictures.find_pictures(picture))
    names = pictures.OutputNames(out or pictures.DEFAULT_OUT, len(found))
    draws = out is not None or not (as_json or show)

    from streamseg.images.automatic import AutomaticMasks

    masks = AutomaticMasks(pictures.load(settings.model), preset=settings.preset, **settings.parameters)
    modes = settings.parameters.get("output_mode", "coco_rle")
    results = _Results(names, draws, as_json, coco, show, modes, _Style(borders, side_by_side, transparent))
    skipped = _run(found, masks, results)
    if skipped:
        print(f"{skipped} of {len(found)} skipped", file=sys.stderr)
        raise typer.Exit(pictures.SKIPPED)


def _read_grids(path: Path) -> Any:
    from streamseg.config.yaml import read_document

    grids = read_document(path).tree
    if grids is None:
        raise ConfigError(f"--point-grids {path}: the file is empty: expected a list of lists of [x, y] in 0..1")
    return grids


def _run(found: list[Path | SkippedPictureError], masks: AutomaticMasks, results: _Results) -> int:
    """Process the pictures; return how many were skipped."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=sys.stdout.isatty(),  # results that go to a file or a pipe do not belong on the terminal
    )
    skipped = 0
    try:
        with bar:
            task = bar.add_task("pictures", total=len(found))
            for item in found:
                try:
                    if isinstance(item, SkippedPictureError):
                        raise item
                    _find_in(item, masks, results)
                except SkippedPictureError as error:
                    skipped += 1
                    pictures.warn(str(error))
                bar.advance(task)
    finally:
        results.close()  # also after Ctrl-C, for the results so far
    return skipped


def _find_in(path: Path, masks: AutomaticMasks, results: _Results) -> None:
    picture = pictures.read_picture(path)
    began = time.perf_counter()
    try:
        found = masks.find(picture)
    except (MemoryError, RuntimeError) as error:
        from streamseg.images.model import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        raise SkippedPictureError(f"{path}: there is not enough memory for this picture") from error
    results.add(path, picture, found, time.perf_counter() - began)


@dataclass(frozen=True, slots=True)
class _Style:
    """How masks are drawn."""

    borders: bool
    side_by_side: bool
    transparent: bool

    def draw(self, picture: NDArray[np.uint8], found: list[FoundMask]) -> NDArray[np.uint8]:
        from streamseg.images import overlay

        if self.transparent:
            return overlay.draw_on_transparent(picture.shape, found, borders=self.borders)
        drawn = overlay.overlay(picture, found, borders=self.borders)
        return overlay.side_by_side(picture, drawn) if self.side_by_side else drawn


class _Results:
    """Writes, prints and shows what was found in each picture."""

    def __init__(
        self,
        names: pictures.OutputNames,
        draws: bool,
        as_json: bool,
        coco: bool,
        show: bool,
        output_mode: str,
        style: _Style,
    ) -> None:
        from streamseg.images.coco import CocoFile

        self._names, self._draws, self._as_json, self._show = names, draws, as_json, show
        self._mode, self._style = output_mode, style
        self._coco: CocoFile | None = CocoFile() if coco else None

    def add(self, path: Path, picture: NDArray[np.uint8], found: list[FoundMask], seconds: float) -> None:
        """Store the result of one picture."""
        from streamseg.cli.message_lines import plain

        stem, size = self._names.stem(path), (picture.shape[1], picture.shape[0])
        where = ""
        if self._draws or self._show:
            drawn = self._style.draw(picture, found)
        if self._draws:
            file = self._names.drawing(stem, "masks")
            pictures.write_png(file, drawn)
            where = f": {file}"
        if self._mode == "binary_mask":
            self._write_masks(stem, found)
        if self._coco is not None:
            self._coco.add(str(path), size, found)
        if self._as_json:
            self._print_json(path, size, found)
        else:
            print_line(plain(f"{path}: {len(found)} masks in {seconds:.1f} s{where}"))
        if not found:
            fix = "lower --pred-iou-thresh and --stability-score-thresh, or use a larger model (--model)"
            print(plain(f"{path}: nothing is good enough: {fix}"), file=sys.stderr)
        if self._show:
            pictures.show(str(path), drawn[..., :3])

    def close(self) -> None:
        """Write the COCO file."""
        if self._coco is not None:
            from streamseg.protocol.text import encode_json

            file = self._names.folder / COCO_FILE
            pictures.write_file(file, encode_json(self._coco.content()))
            print(file, file=sys.stderr)

    def _write_masks(self, stem: str, found: list[FoundMask]) -> None:
        for number, mask in enumerate(found):
            file = self._names.folder / stem / f"{number:04}.png"
            pictures.write_png(file, mask.mask.view("uint8") * 255)

    def _print_json(self, path: Path, size: tuple[int, int], found: list[FoundMask]) -> None:
        from streamseg.images.records import record

        mode = "uncompressed_rle" if self._mode == "uncompressed_rle" else "coco_rle"
        pictures.print_json(path, size, [record(mask, mode) for mask in found])  # type: ignore[arg-type]

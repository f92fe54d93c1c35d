"""Parameters of automatic masks, their presets, and model-specific thresholds. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamseg.errors import ConfigError, ModelError
from streamseg.models.registry import find
from streamseg.models.tuning import AutomaticThresholds, load_tuning

OutputMode = Literal["binary_mask", "uncompressed_rle", "coco_rle"]
PointGrids = Sequence[NDArray[np.float64]]

_MAX_SIDE: Final = 1024
_MAX_LAYERS: Final = 5
_MAX_BATCH: Final = 65536


class AutomaticParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of ``SAM2AutomaticMaskGenerator`` by their names, with its defaults, and ``exact``.

    Attributes:
        points_per_side: Points of the grid along one side; None if ``point_grids`` is given.
        points_per_batch: Maximum number of points decoded at once. Without ``exact``, a CPU takes fewer at a time.
        pred_iou_thresh: Keep masks whose predicted IoU is above this; 0 keeps all.
        stability_score_thresh: Keep masks whose stability score is at least this; 0 keeps all.
        stability_score_offset: Offset of the mask threshold in logits for the stability score.
        mask_threshold: An object is where the logit is above this.
        box_nms_thresh: Of two masks whose boxes have a higher IoU, the one with the lower predicted IoU is dropped.
        crop_n_layers: Layers of crops besides the whole picture; layer i has ``(2 ** i) ** 2`` crops.
        crop_nms_thresh: As ``box_nms_thresh``, between crops; the mask of the smaller crop stays.
        crop_overlap_ratio: Overlap of the crops of the first layer, as a share of the picture's short side.
        crop_n_points_downscale_factor: Layer i has ``points_per_side`` divided by this to the power of i.
        point_grids: Points of each layer, ``[N, 2]`` in 0..1; replaces ``points_per_side``.
        min_mask_region_area: Fill holes and remove islands smaller than this, in pixels of the picture; 0 changes
            nothing.
        output_mode: Format of ``segmentation``: ``binary_mask``, ``uncompressed_rle`` or ``coco_rle``.
        use_m2m: Refine each mask by a second pass through the decoder, before the filters.
        multimask_output: Three masks per point rather than one.
        exact: The reference's own arithmetic, bit for bit: scores and boxes of all masks at full resolution.
    """

    points_per_side: int | None = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.8
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    mask_threshold: float = 0.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    point_grids: Any = None
    min_mask_region_area: float = 0
    output_mode: OutputMode = "binary_mask"
    use_m2m: bool = False
    multimask_output: bool = True
    exact: bool = False


NAMES: Final = AutomaticParameters.__struct_fields__

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "reference": {},
        "fine": {
            "points_per_side": 64,
            "points_per_batch": 128,
            "pred_iou_thresh": 0.7,
            "stability_score_thresh": 0.92,
            "stability_score_offset": 0.7,
            "crop_n_layers": 1,
            "box_nms_thresh": 0.7,
            "crop_n_points_downscale_factor": 2,
            "min_mask_region_area": 25.0,
            "use_m2m": True,
        },
        "fast": {"points_per_side": 16, "min_mask_region_area": 100.0},
    }
)
"""Preset -> parameters that differ from the reference's defaults."""

_RANGES: Final[Mapping[str, tuple[type, float, float]]] = {
    "points_per_batch": (int, 1, _MAX_BATCH),
    "pred_iou_thresh": (float, 0, 1),
    "stability_score_thresh": (float, 0, 1),
    "stability_score_offset": (float, 0, 100),
    "mask_threshold": (float, -100, 100),
    "box_nms_thresh": (float, 0, 1),
    "crop_n_layers": (int, 0, _MAX_LAYERS),
    "crop_nms_thresh": (float, 0, 1),
    "crop_overlap_ratio": (float, 0, 1),
    "crop_n_points_downscale_factor": (int, 1, 64),
    "min_mask_region_area": (float, 0, 1e9),
}


def parameters(
    given: Mapping[str, Any] = MappingProxyType({}), *, preset: str | None = None, model: str | None = None
) -> AutomaticParameters:
    """Return checked parameters: given ones first, then the preset's, the model's, and the reference's.

    Args:
        given: Name -> value.
        preset: A name of :data:`PRESETS`. ``reference`` uses the reference's thresholds for every model.
        model: Name of the model, for its thresholds.

    Raises:
        ConfigError: A name is unknown, or a value is invalid; names the parameter, the value and the fix.
    """
    if preset is not None and preset not in PRESETS:
        raise ConfigError(f"preset {preset!r} is unknown: expected one of {', '.join(PRESETS)}")
    unknown = [name for name in given if name not in NAMES]
    if unknown:
        raise ConfigError(f"{unknown[0]} is not a parameter of automatic masks: expected one of {', '.join(NAMES)}")
    # Thresholds of a preset are for SAM 2: another model keeps its own, unless the reference is requested.
    own = {} if model is None or preset == "reference" else model_thresholds(model)
    chosen = {**PRESETS.get(preset or "", {}), **own, **given}
    if chosen.get("point_grids") is not None:
        chosen.setdefault("points_per_side", None)
    return _checked(AutomaticParameters(**chosen))


def model_thresholds(model: str) -> dict[str, float]:
    """Return the thresholds that were chosen for a model, by its name; empty if it uses the reference's."""
    try:
        automatic = load_tuning(find(model).config).automatic
    except ModelError:  # a path, or the id of a checkpoint
        return {}
    if automatic == AutomaticThresholds():
        return {}
    return {
        "pred_iou_thresh": automatic.pred_iou_thresh,
        "stability_score_thresh": automatic.stability_score_thresh,
    }


def _checked(values: AutomaticParameters) -> AutomaticParameters:
    numbers = {name: _number(name, getattr(values, name), *limits) for name, limits in _RANGES.items()}
    values = msgspec.structs.replace(values, **numbers)
    for name in ("use_m2m", "multimask_output", "exact"):
        if not isinstance(getattr(values, name), bool):
            raise ConfigError(f"{name} {getattr(values, name)!r} is invalid: expected true or false")
    if values.output_mode not in get_args(OutputMode):
        raise ConfigError(
            f"output_mode {values.output_mode!r} is unknown: expected one of {', '.join(get_args(OutputMode))}"
        )
    if (values.points_per_side is None) == (values.point_grids is None):
        raise ConfigError("give exactly one of points_per_side and point_grids; the other is null")
    if values.points_per_side is not None:
        side = _number("points_per_side", values.points_per_side, int, 1, _MAX_SIDE)
        return msgspec.structs.replace(values, points_per_side=side)
    return msgspec.structs.replace(values, point_grids=_checked_grids(values.point_grids, values.crop_n_layers + 1))


def _number(name: str, value: Any, kind: type, low: float, high: float) -> float:
    """Return a number as Python's own type: 32.0 and NumPy's 32 are the whole number 32."""
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if is_number and low <= value <= high and (kind is float or int(value) == value):  # NaN is in no range
        converted: float = kind(value)
        return converted
    what = "a whole number" if kind is int else "a number"
    raise ConfigError(f"{name} {value!r} is invalid: expected {what} from {low:g} to {high:g}")


def _checked_grids(grids: Any, layers: int) -> PointGrids:
    try:
        found = [np.asarray(grid, dtype=np.float64) for grid in grids]
    except (OverflowError, TypeError, ValueError) as error:
        raise ConfigError(f"point_grids is invalid ({error}): expected a list of lists of [x, y] in 0..1") from None
    if len(found) < layers:
        raise ConfigError(f"point_grids has {len(found)} grids: expected one for each of the {layers} crop layers")
    for number, grid in enumerate(found):
        if grid.ndim != 2 or grid.shape[1] != 2 or not len(grid) or not ((grid >= 0) & (grid <= 1)).all():
            raise ConfigError(
                f"point_grids[{number}] is invalid: expected points [x, y] from 0 to 1, got an array of shape "
                f"{grid.shape}"
            )
    return found

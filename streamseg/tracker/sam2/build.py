"""Builds SAM 2 models from sam2's configs, a YAML file, or a config of this package.

The configs are read with OmegaConf and instantiated directly: hydra's global state, which sam2 sets up on import, is
neither needed nor touched. Instantiation calls whatever a config names as ``_target_``, so only the classes in
:data:`TARGETS` are allowed.
"""

from __future__ import annotations

import math
import re
from contextlib import nullcontext
from importlib import resources
from pathlib import Path
from typing import Any, Final, cast

import torch
import yaml
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_video_predictor import SAM2VideoPredictor
from torch.utils._python_dispatch import TorchDispatchMode

from streamseg.errors import ModelError
from streamseg.tracker.sam2.checkpoint import load_checkpoint

SIZE_MULTIPLE_PX = 32
_MAX_SIZE_PX: Final = 2048
_MAX_BYTES: Final = 256 * 1024
_MAX_NODES: Final = 20_000
_MAX_DEPTH: Final = 64
_MAX_NUMBER: Final = 65_536
"""Of the config's numbers: above their largest, a position encoding's ``temperature`` of 10,000."""
_LAYER_COUNTS: Final = ("num_layers", "stages")
_MAX_LAYERS: Final = 256
_MAX_ELEMENTS: Final = 1 << 29
"""Limit for all tensors created while a model is built: over twice the need of the largest published one."""
TARGETS: Final = frozenset(
    {
        "sam2.modeling.backbones.hieradet.Hiera",
        "sam2.modeling.backbones.image_encoder.FpnNeck",
        "sam2.modeling.backbones.image_encoder.ImageEncoder",
        "sam2.modeling.memory_attention.MemoryAttention",
        "sam2.modeling.memory_attention.MemoryAttentionLayer",
        "sam2.modeling.memory_encoder.CXBlock",
        "sam2.modeling.memory_encoder.Fuser",
        "sam2.modeling.memory_encoder.MaskDownSampler",
        "sam2.modeling.memory_encoder.MemoryEncoder",
        "sam2.modeling.position_encoding.PositionEmbeddingSine",
        "sam2.modeling.sam.transformer.RoPEAttention",
        "sam2.modeling.sam2_base.SAM2Base",
        "sam2.sam2_video_predictor.SAM2VideoPredictor",
        "streamseg.tracker.efficientnet_lite.EfficientNetLite0",
        "streamseg.tracker.sam2.efficientnet_lite.EfficientNetLite0",
    }
)
"""The classes that a config may name: the published models' and our own."""

_REFUSED_KEYS: Final = {
    "weights_path": "it would read another file: give the weights as model.name",
    "_args_": "write the arguments by name",
    "_partial_": "remove it",
    "_recursive_": "remove it",
}
"""Arguments of those classes that have effects of their own, and what would pass them without their names."""

_RESOLVER: Final = re.compile(r"\$\{[^${}]*(?::|\$\{)")
"""``${oc.env:NAME}`` and other functions of OmegaConf, and what could hide one; plain ``${a.b}`` is allowed."""
# What `sam2.build_sam` sets for a predictor with post-processing, without hole filling: that needs a CUDA extension
# which the package on PyPI does not include.
_POSTPROCESSING = {
    "sam_mask_decoder_extra_args": {
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    },
    "binarize_mask_from_pts_for_mem_enc": True,
}
# Switches of SAM2Base that the tracker assumes; all published configs have these values.
_REQUIRED = {
    "memory_temporal_stride_for_eval": 1,
    "max_cond_frames_in_attn": -1,
    "directly_add_no_mem_embed": True,
    "use_mask_input_as_output_without_sam": True,
    "use_high_res_features_in_sam": True,
    "use_obj_ptrs_in_encoder": True,
    "pred_obj_scores": True,
    "soft_no_obj_ptr": False,
    "non_overlap_masks_for_mem_enc": False,
}


def config_names() -> list[str]:
    """Return the names that :func:`build_model` knows: sam2's configs and this package's."""
    return sorted(_named_configs())


def build_model(
    config: str | Path,
    *,
    image_size: int | None = None,
    checkpoint: Path | None = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> SAM2Base:
    """Build a SAM 2 model in evaluation mode, without gradients.

    Args:
        config: A name (:func:`config_names`, such as ``sam2.1_hiera_t`` or ``nano``; sam2's own spelling,
            ``configs/sam2.1/sam2.1_hiera_t.yaml``, is accepted too) or the path of a YAML file.
        image_size: Side of the square model input in pixels, a multiple of 32; None for the config's own.
        checkpoint: File of ``{"model": state_dict}``; None leaves the weights random.
        device: Device of the model.
        seed: Seed of random weights; torch's global generator is restored.

    Raises:
        ModelError: The config or the checkpoint cannot be read, or they do not match.
    """
    model: SAM2Base = _build(config, "sam2.modeling.sam2_base.SAM2Base", {}, image_size, checkpoint, device, seed)
    for field, wanted in _REQUIRED.items():
        if getattr(model, field) != wanted:
            raise ModelError(
                f"model config {config}: {field} is {getattr(model, field)}, but the tracker needs {wanted}: "
                "use a config like those that sam2 publishes"
            )
    return model


def build_reference_model(
    config: str | Path,
    *,
    image_size: int | None = None,
    checkpoint: Path | None = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> SAM2VideoPredictor:
    """Build the official predictor from the same config and weights as :func:`build_model`.

    A correction makes its frame a conditioning frame, because otherwise the official predictor forgets the correction
    when it propagates (``sam2_video_predictor.py:591``).

    Raises:
        ModelError: As :func:`build_model`.
    """
    extra = {"fill_hole_area": 0, "non_overlap_masks": False, "add_all_frames_to_correct_as_cond": True}
    target = "sam2.sam2_video_predictor.SAM2VideoPredictor"
    model: SAM2VideoPredictor = _build(config, target, extra, image_size, checkpoint, device, seed)
    return model


def _build(
    config: str | Path,
    target: str,
    extra: dict[str, Any],
    image_size: int | None,
    checkpoint: Path | None,
    device: torch.device | str,
    seed: int,
) -> Any:
    node = _load_config(config)
    _set_image_size(node, image_size if image_size is not None else int(node.image_size), config)
    node = cast(DictConfig, OmegaConf.merge(node, _POSTPROCESSING, extra, {"_target_": target}))
    node.compile_image_encoder = False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            # "all": plain lists instead of OmegaConf's, which torch.compile cannot trace.
            # The guard makes torch import its dispatcher, which takes over a second: only for files of the user's.
            with nullcontext() if _ships(config) else _BoundedElements():
                model = instantiate(node, _convert_="all")
        except Exception as error:
            raise ModelError(f"model config {config} does not describe a SAM 2 model: {error}") from error
    if checkpoint is not None:
        load_checkpoint(model, checkpoint, str(config))
    return model.requires_grad_(False).eval().to(device)


class _BoundedElements(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses to make more elements than a model can have, before they take memory."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._made = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        first = func._schema.arguments[0].name if func._schema.arguments else ""
        if first == "size":
            self._made += math.prod(args[0])
        elif func is torch.ops.aten.clone.default:  # of layers that are copied
            self._made += args[0].numel()
        if self._made > _MAX_ELEMENTS:
            raise ModelError(f"it has more than {_MAX_ELEMENTS} weights")
        return func(*args, **(kwargs or {}))


def _named_configs() -> dict[str, Path]:
    folders = (
        Path(str(resources.files("sam2"))) / "configs" / "sam2",
        Path(str(resources.files("sam2"))) / "configs" / "sam2.1",
        Path(str(resources.files("streamseg"))) / "models",
    )
    return {path.name.removesuffix(".yaml"): path for folder in folders for path in folder.glob("*.yaml")}


def _ships(config: str | Path) -> bool:
    """Return whether a config is one of sam2's or of streamseg's own, by its name or path."""
    named = _named_configs()
    return str(config) in named or Path(config) in named.values()


def _load_config(config: str | Path) -> DictConfig:
    named = _named_configs()
    # sam2 itself calls its configs configs/sam2.1/sam2.1_hiera_t.yaml, relative to its package.
    key = str(config).rpartition("/")[2].removesuffix(".yaml") if str(config).startswith("configs/") else str(config)
    path = named.get(key, Path(config))
    if not path.is_file():
        raise ModelError(
            f"model config {config} is unknown: expected the path of a YAML file or one of {', '.join(named)}"
        )
    try:
        text = _read_text(path)
        tree = OmegaConf.to_container(OmegaConf.create(text), resolve=True, throw_on_missing=True)
    except ModelError:
        raise
    except Exception as error:  # the parser and OmegaConf raise many kinds
        raise ModelError(f"model config {path} cannot be read: {error}") from error
    node = tree.get("model") if isinstance(tree, dict) else None
    if not isinstance(node, dict) or not isinstance(node.get("image_size"), int):
        raise ModelError(
            f"model config {path} has no `model:` with an `image_size:`: expected a config like those of sam2"
        )
    _check_targets(node, "model", path)
    return OmegaConf.create(node)


def _read_text(path: Path) -> str:
    """Return the text of a config. Refuse one that becomes far larger when its aliases (``*a``) are resolved."""
    if not 0 < path.stat().st_size <= _MAX_BYTES:
        raise ModelError(f"model config {path} has {path.stat().st_size} bytes: expected 1 to {_MAX_BYTES}")
    text = path.read_text(encoding="utf-8")
    if found := _RESOLVER.search(text):
        raise ModelError(f"model config {path}: {found[0]}...}} is not allowed: write the value itself")
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):  # step by step: deep nesting takes quadratic time
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise ModelError(f"model config {path} is nested more than {_MAX_DEPTH} deep")
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is not None and _nodes(root, {}) > _MAX_NODES:
        raise ModelError(f"model config {path} has more than {_MAX_NODES} values: remove what its aliases repeat")
    return text


def _nodes(node: yaml.Node, known: dict[int, float]) -> float:
    """Return how many nodes a node becomes when its aliases are resolved; infinite if it contains itself."""
    if id(node) not in known:
        known[id(node)] = math.inf  # while it is counted
        children = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = [part for child in children for part in (child if isinstance(child, tuple) else (child,))]
        known[id(node)] = 1 + sum(_nodes(part, known) for part in parts)
    return known[id(node)]


def _check_targets(node: object, place: str, path: Path) -> None:
    """Refuse a config that would call anything except the allowed classes.

    Args:
        node: A part of the config, in plain values.
        place: Its path in the config, for messages.
        path: The config's file, for messages.
    """
    if isinstance(node, str) and "${" in node:
        # An escaped one, which the first reading leaves and the next would resolve, past this check.
        raise ModelError(f"model config {path}: {place} {node!r} is not allowed: write the value itself")
    if isinstance(node, int | float) and not abs(node) <= _MAX_NUMBER:
        raise ModelError(f"model config {path}: {place} is too large: expected at most {_MAX_NUMBER}")
    if isinstance(node, list):
        for number, child in enumerate(node):
            _check_targets(child, f"{place}[{number}]", path)
    if not isinstance(node, dict):
        return
    if "_target_" in node and not (isinstance(node["_target_"], str) and node["_target_"] in TARGETS):
        raise ModelError(
            f"model config {path}: {place}._target_ {node['_target_']!r} is not allowed: expected one of "
            f"{', '.join(sorted(TARGETS))}"
        )
    for key, child in node.items():
        counts = child if isinstance(child, list) else [child]
        if key in _LAYER_COUNTS and any(isinstance(one, int | float) and one > _MAX_LAYERS for one in counts):
            raise ModelError(f"model config {path}: {place}.{key} is too large: expected at most {_MAX_LAYERS}")
        if child is not None and key in _REFUSED_KEYS:
            raise ModelError(f"model config {path}: {place}.{key} is not allowed: {_REFUSED_KEYS[key]}")
        _check_targets(child, f"{place}.{key}", path)


def _set_image_size(node: DictConfig, image_size: int, config: str | Path) -> None:
    """Set the side of the input and everything that depends on it."""
    if not 2 * SIZE_MULTIPLE_PX <= image_size <= _MAX_SIZE_PX or image_size % SIZE_MULTIPLE_PX:
        raise ModelError(
            f"model.image_size {image_size} is invalid: expected a multiple of {SIZE_MULTIPLE_PX} from 64 to "
            f"{_MAX_SIZE_PX}"
        )
    try:
        side = image_size // int(node.get("backbone_stride", 16))
        node.image_size = image_size
        layer = node.memory_attention.layer
        layer.self_attention.feat_sizes = layer.cross_attention.feat_sizes = [side, side]
        for encoding in (node.image_encoder.neck.position_encoding, node.memory_encoder.position_encoding):
            # The warm cache would go to the default CUDA device if there is one, wherever the model goes.
            encoding.warmup_cache = False
            encoding.image_size = image_size
    except Exception as error:
        raise ModelError(f"model config {config} does not describe a SAM 2 model: {error}") from error

"""Shared by the parity tests: models whose errors show, clips, scenarios, the official predictor's run.

Random weights alone would hide mistakes: attention over them is nearly uniform, pointers and temporal encodings weigh
next to nothing. So those weights are scaled up. On some frames the bias of the score head hides every object.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_video_predictor import SAM2VideoPredictor
from torch import Tensor
from torch.nn import functional

from bench.reference_predictor import ReferencePredictor
from streamseg.tracker.predictor import CameraPredictor, PastImage, TrackOutput

Change = Callable[[CameraPredictor], CameraPredictor]
STREAM = "cam"
HIDDEN = frozenset({12, 13, *range(18, 24), 27})  # frames on which no object is seen; a prompt among them
_SEEN_BIAS, _HIDDEN_BIAS = 8.0, -8.0


@dataclass(frozen=True)
class Add:
    """A prompt, in shares of the frame's sides."""

    obj_id: int
    points: Sequence[tuple[float, float, int]] = ()
    box: tuple[float, float, float, float] | None = None
    mask: tuple[float, float, float, float] | None = None  # a filled rectangle

    def arguments(self) -> dict[str, Tensor]:
        if self.mask is not None:
            side = 100
            x0, y0, x1, y1 = (round(side * share) for share in self.mask)
            mask = torch.zeros(side, side, dtype=torch.bool)
            mask[y0:y1, x0:x1] = True
            return {"mask": mask}
        arguments: dict[str, Tensor] = {}
        if self.points:
            arguments["points_norm"] = torch.tensor([point[:2] for point in self.points])
            arguments["labels"] = torch.tensor([point[2] for point in self.points], dtype=torch.int32)
        if self.box is not None:
            arguments["box_norm"] = torch.tensor(self.box)
        return arguments


@dataclass(frozen=True)
class Remove:
    obj_id: int


Events = Mapping[int, Sequence[Add | Remove]]


CLICK = Add(1, points=[(0.5, 0.5, 1)])
SCENARIOS: dict[str, Events] = {
    "one click": {1: [CLICK]},
    "every kind of prompt": {
        0: [
            Add(1, points=[(0.3, 0.4, 1), (0.5, 0.45, 1), (0.8, 0.8, 0)]),
            Add(2, box=(0.2, 0.3, 0.6, 0.7)),
            Add(3, mask=(0.5, 0.1, 0.9, 0.6)),
            Add(4, box=(0.1, 0.5, 0.5, 0.9), points=[(0.3, 0.7, 1), (0.15, 0.55, 0)]),
        ],
    },
    "clicks one after another": {
        2: [CLICK, Add(1, points=[(0.7, 0.3, 0)]), Add(2, points=[(0.2, 0.8, 1)]), Add(1, points=[(0.4, 0.6, 1)])],
        20: [Add(2, points=[(0.6, 0.3, 1)]), Add(2, points=[(0.1, 0.1, 0)]), Add(2, box=(0.1, 0.6, 0.4, 0.9))],
    },
    "added, corrected, removed": {
        0: [CLICK, Add(2, box=(0.2, 0.2, 0.6, 0.7))],
        7: [Add(7, mask=(0.1, 0.1, 0.4, 0.5))],
        15: [Add(1, points=[(0.7, 0.6, 1)])],
        19: [Add(2, points=[(0.3, 0.6, 0)])],
        24: [Remove(2)],
        25: [Add(5, points=[(0.6, 0.6, 1)])],
        29: [Add(7, mask=(0.2, 0.1, 0.5, 0.5)), Add(7, points=[(0.45, 0.45, 0)])],
    },
}


def frames_of(events: Events) -> int:
    """A scenario's frames: until objects were hidden for the last time, and all memory is from after its prompts."""
    return max(max(HIDDEN) + 3, max(events) + 19)


@dataclass
class Run:
    """Results by (frame, object), and of the prompts by (frame, place in the frame's events)."""

    tracked: dict[tuple[int, int], tuple[Tensor, Tensor]] = field(default_factory=dict)
    prompted: dict[tuple[int, int], tuple[Tensor, Tensor]] = field(default_factory=dict)
    ious: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    @property
    def scores(self) -> Tensor:
        return torch.stack([score for _, score in self.tracked.values()])


def clip(frames: int, size: int, seed: int = 0) -> Tensor:
    """``[frames, 3, size, size]``: a window that wanders over a smooth random picture."""
    generator = torch.Generator().manual_seed(seed)
    picture = functional.interpolate(torch.randn(1, 3, 16, 16, generator=generator), size=2 * size, mode="bicubic")[0]
    corners = [
        (round(size / 2 * (1 + math.sin(0.07 * t))), round(size / 2 * (1 + math.sin(0.13 * t)))) for t in range(frames)
    ]
    return torch.stack([1.5 * picture[:, y : y + size, x : x + size] for y, x in corners])


@torch.no_grad()
def excite(model: SAM2Base, attention: float = 2.0) -> None:
    """Scale random weights in place so that memory decides the masks.

    Any more, and rounding errors would grow from frame to frame and hide what the test should show.
    """
    for layer in model.memory_attention.layers:
        for block in (layer.self_attn, layer.cross_attn_image):
            block.q_proj.weight *= attention
            block.k_proj.weight *= attention
        layer.cross_attn_image.v_proj.weight *= attention
        layer.cross_attn_image.out_proj.weight *= attention
    model.maskmem_tpos_enc *= 20
    model.no_obj_ptr *= 20
    if model.no_obj_embed_spatial is not None:
        model.no_obj_embed_spatial *= 20
    model.memory_encoder.mask_downsampler.encoder[-1].weight *= 3
    for linear in model.obj_ptr_proj.layers:
        linear.weight *= 1.5
    if isinstance(model.obj_ptr_tpos_proj, torch.nn.Linear):
        model.obj_ptr_tpos_proj.weight *= 5
    decoder = model.sam_mask_decoder
    for head in decoder.output_hypernetworks_mlps:
        head.layers[-1].weight *= 10
    for linear in decoder.pred_obj_score_head.layers:
        linear.weight *= 3
    show(model, frame=0)
    # The decoder's tokens look at the picture.
    transformer = decoder.transformer
    for block in (
        *(layer.cross_attn_token_to_image for layer in transformer.layers),
        transformer.final_attn_token_to_image,
    ):
        block.q_proj.weight *= 2
        block.k_proj.weight *= 2
        block.v_proj.weight *= 3
        block.out_proj.weight *= 3
    # Candidates must differ: between two that are nearly equal, rounding would decide.
    decoder.iou_prediction_head.layers[-1].weight *= 2
    decoder.iou_prediction_head.layers[-1].bias.copy_(torch.tensor([0.0, 0.0, 0.6, -0.6]))


@torch.no_grad()
def show(model: SAM2Base, frame: int) -> None:
    """Let objects be seen on a frame, or not, as ``HIDDEN`` says."""
    bias = _HIDDEN_BIAS if frame in HIDDEN else _SEEN_BIAS
    model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(bias)


def play(predictor: CameraPredictor | ReferencePredictor, images: Tensor, events: Events, stream: str = STREAM) -> Run:
    """Run a scenario frame by frame."""
    run = Run()
    predictor.open_stream(stream)
    for frame, image in enumerate(images):
        show(predictor.model, frame)
        note(run, frame, predictor.track({stream: image})[stream])
        for place, event in enumerate(events.get(frame, ())):
            if isinstance(event, Remove):
                predictor.remove_object(stream, event.obj_id)
            else:
                output = predictor.add_prompt(stream, event.obj_id, **event.arguments())
                run.prompted[frame, place] = (output.mask_logits[0], output.object_score_logits[0])
    return run


def play_late(predictor: CameraPredictor, images: Tensor, events: Events, late: int) -> Run:
    """Run a scenario with each prompt some frames late; record the final masks."""
    run = Run()
    predictor.open_stream(STREAM)
    for frame, image in enumerate(images):
        show(predictor.model, frame)
        note(run, frame, predictor.track({STREAM: image})[STREAM])
        then = frame - late
        for place, event in enumerate(events.get(then, ())):
            assert isinstance(event, Add)
            show(predictor.model, then)
            at = PastImage(then, images[then])
            output = predictor.add_prompt(STREAM, event.obj_id, at=at, **event.arguments())
            run.prompted[then, place] = (output.mask_logits[0], output.object_score_logits[0])
            for later in range(then + 1, frame + 1):
                show(predictor.model, later)
                note(run, later, predictor.retrack(STREAM, event.obj_id, PastImage(later, images[later])))
    return run


def happen(predictor: CameraPredictor, events: Sequence[Add | Remove], stream: str = STREAM) -> None:
    """Apply the events of a frame."""
    for event in events:
        if isinstance(event, Remove):
            predictor.remove_object(stream, event.obj_id)
        else:
            predictor.add_prompt(stream, event.obj_id, **event.arguments())


def note(run: Run, frame: int, output: TrackOutput) -> None:
    for obj_id, logits, iou, score in zip(*output, strict=True):
        run.tracked[frame, obj_id] = (logits, score)
        run.ious[frame, obj_id] = iou


@torch.inference_mode()
def play_official(model: SAM2VideoPredictor, images: Tensor, events: Events) -> Run:
    """Run a scenario with the unchanged official predictor, which knows the whole clip and drops nothing."""
    state = _official_state(model, images)
    run = Run()
    stops = [*sorted(events), len(images) - 1]
    for begin, end in itertools.pairwise(stops):
        show(model, begin)
        for place, event in enumerate(events.get(begin, ())):
            if isinstance(event, Remove):
                model.remove_object(state, event.obj_id, need_output=False)
                continue
            given = event.arguments()
            if "mask" in given:
                model.add_new_mask(state, begin, event.obj_id, given["mask"])
            else:
                model.add_new_points_or_box(
                    state,
                    begin,
                    event.obj_id,
                    points=given.get("points_norm"),
                    labels=given.get("labels"),
                    box=given.get("box_norm"),
                    clear_old_points=event.box is not None,
                    normalize_coords=False,
                )
            out = state["temp_output_dict_per_obj"][state["obj_id_to_idx"][event.obj_id]]["cond_frame_outputs"][begin]
            run.prompted[begin, place] = (out["pred_masks"][0, 0], out["object_score_logits"][0, 0])
        if begin == end or not state["obj_ids"]:
            continue
        show(model, begin + 1)
        for frame, obj_ids, _ in model.propagate_in_video(state, begin + 1, end - begin - 1):
            for idx, obj_id in enumerate(obj_ids):
                out = state["output_dict_per_obj"][idx]["non_cond_frame_outputs"][frame]
                run.tracked[frame, obj_id] = (out["pred_masks"][0, 0], out["object_score_logits"][0, 0])
            show(model, min(frame + 1, end))
    return run


def _official_state(model: SAM2VideoPredictor, images: Tensor) -> dict[str, Any]:
    """What ``init_state`` makes of a folder of pictures, without JPEG."""
    empty = (
        "point_inputs_per_obj mask_inputs_per_obj cached_features constants obj_id_to_idx obj_idx_to_id "
        "output_dict_per_obj temp_output_dict_per_obj frames_tracked_per_obj"
    )
    return {
        **{key: {} for key in empty.split()},
        "obj_ids": [],
        "images": images,
        "num_frames": len(images),
        "offload_video_to_cpu": False,
        "offload_state_to_cpu": False,
        "video_height": images.shape[-2],
        "video_width": images.shape[-1],
        "device": model.device,
        "storage_device": model.device,
    }


@dataclass(frozen=True)
class Difference:
    """How far a run is from another.

    Attributes:
        logits: Largest difference of a mask's logits, in standard deviations of that mask.
        agreement: Smallest share of pixels on which the masks agree.
        score: Largest difference of object scores.
    """

    logits: float
    agreement: float
    score: float


def difference(wanted: Run, given: Run) -> Difference:
    assert wanted.tracked.keys() == given.tracked.keys()
    assert wanted.prompted.keys() == given.prompted.keys()
    pairs = [(wanted.tracked[key], given.tracked[key]) for key in wanted.tracked]
    pairs += [(wanted.prompted[key], given.prompted[key]) for key in wanted.prompted]
    # A mask without an object is -1024 all over: it has no spread to measure by.
    logits = [((a - b).abs().max() / a.std().clamp(min=0.1)).item() for (a, _), (b, _) in pairs]
    agreement = [((a > 0) == (b > 0)).float().mean().item() for (a, _), (b, _) in pairs]
    score = [(a - b).abs().item() for (_, a), (_, b) in pairs]
    return Difference(max(logits), min(agreement), max(score))

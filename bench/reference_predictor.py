"""The official predictor on a stream: frame by frame, with its dictionaries pruned.

Bit-exact to ``SAM2VideoPredictor.propagate_in_video`` on the same frames, with bounded memory. The tracker is
measured against it. Like the official code, it tracks one object after another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from sam2.sam2_video_predictor import SAM2VideoPredictor
from torch import Tensor

from streamseg.errors import PromptError
from streamseg.tracker.predictor import TrackOutput

_ENDLESS = 1 << 62  # num_frames: the reference only asks whether there are 16 and whether a frame lies beyond the end


class ReferencePredictor:
    """The interface of :class:`~streamseg.tracker.predictor.CameraPredictor` over the official code.

    Args:
        model: From :func:`~streamseg.tracker.sam2.build.build_reference_model`.
        max_objects: Limit per stream.
        conditioning_frames: Prompted frames kept per object: the first and the newest.
    """

    def __init__(self, model: SAM2VideoPredictor, *, max_objects: int = 16, conditioning_frames: int = 4) -> None:
        self.model = model
        self.max_objects = max_objects
        self._conditioning_frames = conditioning_frames
        # The official predictor drops the predicted IoUs, so they are recorded where the decoder returns them.
        self._ious = torch.zeros(1, 1)
        model.sam_mask_decoder.register_forward_hook(self._note_ious)
        self._states: dict[str, dict[str, Any]] = {}
        self._frames: dict[str, int] = {}

    def open_stream(self, stream: str) -> None:
        """Open a stream without objects; an open one is reset."""
        self._states[stream] = self._new_state()
        self._frames[stream] = -1

    def close_stream(self, stream: str) -> None:
        """Close a stream and free its objects. Does nothing if it is not open."""
        self._states.pop(stream, None)
        self._frames.pop(stream, None)

    @torch.inference_mode()
    def track(self, images: Mapping[str, Tensor]) -> dict[str, TrackOutput]:
        """Track the next frame of one or more streams and return their objects."""
        return {name: self._track_stream(name, image) for name, image in images.items()}

    @torch.inference_mode()
    def add_prompt(
        self,
        stream: str,
        obj_id: int,
        *,
        points_norm: Tensor | None = None,
        labels: Tensor | None = None,
        box_norm: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> TrackOutput:
        """Add an object, or correct one, on the stream's last frame.

        Raises:
            PromptError: no frame was tracked yet, or the stream is full.
        """
        state, frame = self._opened(stream), self._frames[stream]
        if frame < 0:
            raise PromptError(f"object {obj_id}: stream {stream} has had no frame yet: prompt after its first frame")
        if obj_id not in state["obj_id_to_idx"] and len(state["obj_ids"]) >= self.max_objects:
            raise PromptError(f"object {obj_id}: stream {stream} is full: remove one of its {self.max_objects} objects")
        if mask is not None:
            self.model.add_new_mask(state, frame, obj_id, mask)
            self._ious = torch.ones(1, 1)
        else:
            self.model.add_new_points_or_box(
                state,
                frame,
                obj_id,
                points=points_norm,
                labels=labels,
                box=box_norm,
                clear_old_points=box_norm is not None,
                normalize_coords=False,
            )
        prompted = state["temp_output_dict_per_obj"][state["obj_id_to_idx"][obj_id]]["cond_frame_outputs"][frame]
        return self._output((obj_id,), [prompted], [self._ious.amax(dim=1)])

    def remove_object(self, stream: str, obj_id: int) -> None:
        """Forget an object.

        Raises:
            PromptError: there is no such object.
        """
        state = self._opened(stream)
        if obj_id not in state["obj_id_to_idx"]:
            raise PromptError(f"stream {stream} has no object {obj_id}")
        self.model.remove_object(state, obj_id, need_output=False)

    def reset(self, stream: str) -> None:
        """Forget all objects of a stream. Its last frame can still be prompted."""
        self.model.reset_state(self._opened(stream))

    def _track_stream(self, name: str, image: Tensor) -> TrackOutput:
        state, model = self._opened(name), self.model
        if state["obj_ids"]:
            # Stores what was prompted on the last frame, whose features are still cached.
            model.propagate_in_video_preflight(state)
        self._frames[name] = frame = self._frames[name] + 1
        state["images"] = {frame: image}
        outputs, ious = [], []
        for idx in range(len(state["obj_ids"])):
            self._prune(state, idx, frame)
            outputs_of_object = state["output_dict_per_obj"][idx]
            out, _ = model._run_single_frame_inference(
                inference_state=state,
                output_dict=outputs_of_object,
                frame_idx=frame,
                batch_size=1,
                is_init_cond_frame=False,
                point_inputs=None,
                mask_inputs=None,
                reverse=False,
                run_mem_encoder=True,
            )
            outputs_of_object["non_cond_frame_outputs"][frame] = out
            state["frames_tracked_per_obj"][idx][frame] = {"reverse": False}
            outputs.append(out)
            ious.append(self._ious.amax(dim=1))
        return self._output(tuple(state["obj_ids"]), outputs, ious)

    def _prune(self, state: dict[str, Any], idx: int, frame: int) -> None:
        """Drop entries that neither this frame nor a correction of it reads."""
        outputs = state["output_dict_per_obj"][idx]
        oldest = frame - (self.model.max_obj_ptrs_in_encoder - 1)
        conditioning = sorted(outputs["cond_frame_outputs"])
        for dropped in conditioning[1 : len(conditioning) - self._conditioning_frames + 1]:
            del outputs["cond_frame_outputs"][dropped]
        for by_frame, first in (
            (outputs["non_cond_frame_outputs"], oldest),
            (state["frames_tracked_per_obj"][idx], frame),
            (state["point_inputs_per_obj"][idx], frame),
            (state["mask_inputs_per_obj"][idx], frame),
        ):
            for old in [t for t in by_frame if t < first]:
                del by_frame[old]

    def _output(self, obj_ids: tuple[int, ...], outputs: list[dict[str, Any]], ious: list[Tensor]) -> TrackOutput:
        if not outputs:
            side, device = self.model.image_size // 4, self.model.device
            scores = torch.empty(0, device=device)
            return TrackOutput((), torch.empty(0, side, side, device=device), scores, scores)
        return TrackOutput(
            obj_ids,
            torch.cat([out["pred_masks"][:, 0] for out in outputs]),
            torch.cat(ious),
            torch.cat([out["object_score_logits"][:, 0] for out in outputs]),
        )

    def _opened(self, stream: str) -> dict[str, Any]:
        if stream not in self._states:
            raise PromptError(f"stream {stream} is not open")
        return self._states[stream]

    def _note_ious(self, module: object, inputs: object, output: tuple[Tensor, ...]) -> None:
        self._ious = output[1].clone()  # VOS mode: a CUDA graph writes to the same place again

    def _new_state(self) -> dict[str, Any]:
        """Return the state that ``SAM2VideoPredictor.init_state`` makes, for a video that has not begun."""
        per_object = (
            "point_inputs_per_obj",
            "mask_inputs_per_obj",
            "output_dict_per_obj",
            "temp_output_dict_per_obj",
            "frames_tracked_per_obj",
            "cached_features",
            "constants",
            "images",
        )
        return {
            **{key: {} for key in per_object},
            "num_frames": _ENDLESS,
            "offload_video_to_cpu": False,
            "offload_state_to_cpu": False,
            "video_height": self.model.image_size,
            "video_width": self.model.image_size,
            "device": self.model.device,
            "storage_device": self.model.device,
            "obj_id_to_idx": OrderedDict(),
            "obj_idx_to_id": OrderedDict(),
            "obj_ids": [],
        }

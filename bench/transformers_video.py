"""Hugging Face's SAM 2 (``transformers``, ``Sam2VideoModel``) as an arm of ``tracker.py``.

It runs in its streaming mode: a session is given one frame after another. The session keeps every frame and every
output and has no method to drop them, so the arm prunes it as the official predictor is pruned. Weights and session
are in the arm's precision: the session has a setting for that, and on a CPU it is no slower than autocast.

Read with version 5.23. Known differences from the reference on a frame that was prompted with a mask: the object
pointer comes from the best of three masks instead of the single one, and the memory is encoded from the mask itself
instead of its low-res copy. Without those two, the logits agree to about 1e-6 in float32. Known handicaps: it is not
compiled; after the image encoder it loops over objects, except in the memory encoder; the sine encodings of the image
and RoPE's angles are recomputed on every frame, and Hiera computes a product of queries and keys that nothing reads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from sam2.modeling.sam2_base import SAM2Base
from timed import prompt_mask, timed
from torch import Tensor
from transformers import (
    Sam2HieraDetConfig,
    Sam2ImageProcessor,
    Sam2VideoConfig,
    Sam2VideoInferenceSession,
    Sam2VideoMaskDecoderConfig,
    Sam2VideoModel,
    Sam2VideoProcessor,
    Sam2VideoPromptEncoderConfig,
    Sam2VideoVideoProcessor,
    Sam2VisionConfig,
)

# sam2's names as regular expressions -> names in `transformers`; applied in this order.
_NAMES = {
    r"^image_encoder\.trunk": "vision_encoder.backbone",
    r"^image_encoder\.neck\.convs\.(\d)\.conv": r"vision_encoder.neck.convs.\1",
    r"patch_embed\.proj": "patch_embed.projection",
    r"^sam_prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix": (
        "prompt_encoder.shared_embedding.positional_embedding"
    ),
    r"^sam_prompt_encoder": "prompt_encoder",
    r"mask_downscaling\.0": "mask_embed.conv1",
    r"mask_downscaling\.1": "mask_embed.layer_norm1",
    r"mask_downscaling\.3": "mask_embed.conv2",
    r"mask_downscaling\.4": "mask_embed.layer_norm2",
    r"mask_downscaling\.6": "mask_embed.conv3",
    r"^sam_mask_decoder": "mask_decoder",
    r"output_upscaling\.0": "upscale_conv1",
    r"output_upscaling\.1": "upscale_layer_norm",
    r"output_upscaling\.3": "upscale_conv2",
    r"^memory_encoder\.out_proj": "memory_encoder.projection",
    r"^memory_encoder\.pix_feat_proj": "memory_encoder.feature_projection",
    r"mask_downsampler\.encoder\.12": "mask_downsampler.final_conv",
    **{rf"mask_downsampler\.encoder\.{3 * layer}\.": f"mask_downsampler.layers.{layer}.conv." for layer in range(4)},
    **{
        rf"mask_downsampler\.encoder\.{3 * layer + 1}\.": f"mask_downsampler.layers.{layer}.layer_norm."
        for layer in range(4)
    },
    r"^memory_encoder\.fuser": "memory_encoder.memory_fuser",
    r"\.gamma$": ".scale",
    r"\.dwconv\.": ".depthwise_conv.",
    r"\.pwconv": ".pointwise_conv",
    r"^obj_ptr_tpos_proj": "temporal_positional_encoding_projection_layer",
    r"^obj_ptr_proj": "object_pointer_proj",
    # Perceptrons of two layers (`mlp`) or three; the first and the last layer have names.
    r"\.mlp\.layers\.0": ".mlp.proj_in",
    r"\.mlp\.layers\.1": ".mlp.proj_out",
    r"(mlps\.\d|_head|object_pointer_proj)\.layers\.0": r"\1.proj_in",
    r"(mlps\.\d|_head|object_pointer_proj)\.layers\.2": r"\1.proj_out",
    r"(mlps\.\d|_head|object_pointer_proj)\.layers\.1": r"\1.layers.0",
    r"\bout_proj": "o_proj",
    r"\bnorm": "layer_norm",
    r"^maskmem_tpos_enc": "memory_temporal_positional_encoding",
    r"^no_mem_embed": "no_memory_embedding",
    r"^no_mem_pos_enc": "no_memory_positional_encoding",
    r"^no_obj_ptr": "no_object_pointer",
    r"^no_obj_embed_spatial": "occlusion_spatial_embedding_parameter",
}


class TransformersArm:
    """See ``tracker_arms.Arm``. Cameras take turns, each with its own session.

    Args:
        model: With a Hiera trunk; its weights are copied.
        dtype: Of weights, frames and session.
        device: Where it runs.
    """

    def __init__(self, model: SAM2Base, dtype: torch.dtype, device: torch.device) -> None:
        self._model = Sam2VideoModel(model_config(model)).requires_grad_(False).eval()
        self._model.load_state_dict(renamed(model.state_dict()), strict=True)
        self._model.to(device=device, dtype=dtype)
        self._processor = Sam2VideoProcessor(
            Sam2ImageProcessor(), Sam2VideoVideoProcessor(), target_size=model.image_size
        )
        self._sessions: list[Sam2VideoInferenceSession] = []
        self._frames = torch.empty(0)
        self._number = 0

    def start(self, frames: Tensor, objects: int, cameras: int) -> None:
        """See ``tracker_arms.Arm``."""
        self._frames = frames
        self._number = 0
        self._sessions = [
            self._processor.init_video_session(inference_device=frames.device, dtype=self._model.dtype)
            for _ in range(cameras)
        ]
        for session in self._sessions:
            self._processor.add_inputs_to_inference_session(
                session,
                frame_idx=0,
                obj_ids=list(range(objects)),
                input_masks=[prompt_mask(index) for index in range(objects)],
            )
        self._track(frames[0])

    def run(self, numbers: Sequence[int]) -> tuple[list[Tensor], list[float]]:
        """See ``tracker_arms.Arm``."""
        return timed(self._track, self._frames, numbers)

    def close(self) -> None:
        """See ``tracker_arms.Arm``."""

    def _track(self, frame: Tensor) -> Tensor:
        masks = []
        for session in self._sessions:
            # By itself, the session numbers a frame by how many it keeps, which pruning changes.
            output = self._model(inference_session=session, frame=frame, frame_idx=self._number)
            masks.append(output.pred_masks[:, 0])
            self._prune(session)
        self._number += 1
        return masks[0]

    def _prune(self, session: Sam2VideoInferenceSession) -> None:
        """Drop entries that the next frame does not read."""
        session.processed_frames.clear()
        oldest = self._number + 1 - (self._model.config.max_object_pointers_in_encoder - 1)
        for index in range(session.get_obj_num()):
            session.output_dict_per_obj[index]["non_cond_frame_outputs"].pop(oldest - 1, None)
            session.frames_tracked_per_obj[index].pop(self._number, None)


def model_config(model: SAM2Base) -> Sam2VideoConfig:
    """Return the ``transformers`` config of a model; fields that all published models share are defaults."""
    trunk, size = model.image_encoder.trunk, model.image_size
    ends = trunk.stage_ends
    widths = trunk.channel_list[::-1]
    backbone = Sam2HieraDetConfig(
        hidden_size=widths[0],
        num_attention_heads=trunk.blocks[0].attn.num_heads,
        image_size=[size, size],
        window_positional_embedding_background_size=list(trunk.window_pos_embed_bkg_spatial_size),
        blocks_per_stage=[end - before for before, end in zip([-1, *ends], ends, strict=False)],
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[trunk.blocks[end].attn.num_heads for end in ends],
        window_size_per_stage=list(trunk.window_spec),
        global_attention_blocks=list(trunk.global_att_blocks),
    )
    return Sam2VideoConfig(
        vision_config=Sam2VisionConfig(
            backbone_config=backbone,
            backbone_channel_list=widths[::-1],
            backbone_feature_sizes=[[size // stride, size // stride] for stride in (4, 8, 16)],
        ),
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(image_size=size),
        mask_decoder_config=Sam2VideoMaskDecoderConfig(),
        image_size=size,
        memory_attention_rope_feat_sizes=[size // 16, size // 16],
    )


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return sam2's weights under the names of ``transformers``."""
    found, points = {}, []
    for name, value in weights.items():
        if name.startswith("sam_prompt_encoder.point_embeddings."):
            points.append(value)
            continue
        for pattern, replacement in _NAMES.items():
            name = re.sub(pattern, replacement, name)
        found[name] = value
    found["prompt_encoder.point_embed.weight"] = torch.cat(points)
    shared = found["prompt_encoder.shared_embedding.positional_embedding"]
    found["shared_image_embedding.positional_embedding"] = shared
    return found

"""Prompted objects in single pictures, with the interface and the results of ``SAM2ImagePredictor``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor
from torch.nn import functional

from streamseg.errors import PromptError
from streamseg.images.embedding import Embedding, Picture, check_picture, embed, embed_tensor, to_device
from streamseg.images.found_mask import BoolMask, packed
from streamseg.images.model import ImageModel, as_image_model, load_model
from streamseg.images.reference_decoder import LOGITS_LIMIT, decode_prompts
from streamseg.images.regions import without_islands

_MASK_LOGIT = 10.0
"""Logit of a pixel inside a given mask."""
_MIN_PART = 0.05
"""Parts of a rough mask below this share of it count as specks, which would spoil its bounding box."""


class Segmenter:
    """Segments prompted objects in a picture. Not thread-safe.

    Args:
        model: From :func:`~streamseg.images.model.load_model`, or a model built with sam2.
        mask_threshold: An object is where the logit is above this.

    Raises:
        ModelError: ``model`` is not a model.
    """

    def __init__(self, model: ImageModel | SAM2Base, mask_threshold: float = 0.0) -> None:
        self._model = as_image_model(model)
        self.mask_threshold = mask_threshold
        self._embedding: Embedding | None = None

    @classmethod
    def from_pretrained(cls, model_id: str, **loading: Any) -> Segmenter:
        """Load a model by its name, with the arguments of ``load_model``, and use it. Blocks: seconds.

        Raises:
            ModelError: The model cannot be loaded.
        """
        return cls(load_model(model_id, **loading))

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self._model.device

    def set_image(self, image: Picture) -> None:
        """Encode a picture, ``uint8 [H, W, 3]`` RGB or a PIL image, for later calls of :meth:`predict`.

        Raises:
            PromptError: It is not a valid picture.
        """
        picture = check_picture(image)
        self.reset_predictor()
        with torch.no_grad(), self._model.precision():
            self._embedding = embed(self._model, picture)

    def set_tensor(self, image: Tensor, size: tuple[int, int]) -> None:
        """Encode a picture that is already normalized.

        Args:
            image: ``float32 [1, 3, image_size, image_size]`` on the model's device.
            size: (width, height) of the masks, and of the pixels of prompts.
        """
        self.reset_predictor()
        with torch.no_grad(), self._model.precision():
            self._embedding = embed_tensor(self._model, image, size)

    def reset_predictor(self) -> None:
        """Forget the picture."""
        self._embedding = None

    def get_image_embedding(self) -> Tensor:
        """Return the picture's features ``[1, C, h, w]`` at stride 16.

        Raises:
            PromptError: No picture was set.
        """
        return self._picture().top

    def predict(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Segment the prompted objects, like ``SAM2ImagePredictor.predict``.

        Args:
            point_coords: ``[N, 2]``, x and y in pixels; or ``[B, N, 2]`` for ``B`` objects.
            point_labels: ``[N]``; 1 for a point on the object, 0 for one that is not.
            box: ``[4]``, x0, y0, x1, y1 in pixels; or ``[B, 4]``.
            mask_input: ``[1, h, w]`` low-res logits of an earlier call, at a quarter of the model's input.
            multimask_output: Three masks rather than one.
            return_logits: Return logits rather than masks of 0 and 1.
            normalize_coords: Coordinates are in pixels; False: in 0..1 of the width and height.

        Returns:
            ``[C, H, W]`` masks, ``[C]`` predicted IoUs and ``[C, h, w]`` low-res logits; with ``[B, ...]`` in front for
            several objects.

        Raises:
            PromptError: No picture was set, or the prompt is malformed.
        """
        embedding = self._picture()
        points, labels = self._points(point_coords, point_labels, box, normalize_coords, embedding.size)
        mask = None if mask_input is None else self._mask_input(mask_input)
        if points is None and mask is None:
            raise PromptError("the prompt is empty: give points, a box or a mask")
        width, height = embedding.size
        with torch.no_grad(), self._model.precision():
            low, ious = decode_prompts(self._model, embedding, points, labels, mask, multimask=multimask_output)
            full = functional.interpolate(low.float(), (height, width), mode="bilinear", align_corners=False)
            masks = full if return_logits else full > self.mask_threshold
            found = (masks, ious, low.clamp(-LOGITS_LIMIT, LOGITS_LIMIT))
        first, second, third = (values.squeeze(0).float().cpu().numpy() for values in found)
        return first, second, third

    def segment(
        self,
        points: Sequence[Sequence[float]] = (),
        box: Sequence[float] | None = None,
        mask: BoolMask | None = None,
        candidates: int = 1,
    ) -> list[tuple[BoolMask, float]]:
        """Segment one object of the picture; return the best masks and their predicted IoUs, best first.

        A single point is ambiguous about the extent of an object, so it gives the best of three candidates; other
        prompts give one mask. With ``candidates`` above 1, all prompts give that many of the three.

        Args:
            points: (x, y) in pixels, or (x, y, label) with label 0 for a point that is not on the object.
            box: x0, y0, x1, y1 in pixels.
            mask: ``bool [H, W]`` of the picture's size: a rough mask to improve. If it is the only prompt, the
                bounding box of its large parts is added as a prompt.
            candidates: 1 to 3.

        Raises:
            PromptError: As :meth:`predict`.
        """
        if not 1 <= candidates <= 3:
            raise PromptError(f"candidates {candidates} is invalid: expected 1 to 3")
        logits = None if mask is None else self.mask_logits(mask)
        if mask is not None and not len(points) and box is None:
            main = without_islands(mask, _MIN_PART * np.count_nonzero(mask))
            (x0, y0, x1, y1), _, _ = packed(main, (0, 0))
            box = (x0, y0, x1 + 1, y1 + 1)
        multimask = candidates > 1 or (len(points) == 1 and box is None and mask is None)
        masks, ious, _ = self.predict(
            point_coords=[point[:2] for point in points] or None,
            point_labels=[point[2] if len(point) > 2 else 1 for point in points] or None,
            box=box,
            mask_input=logits,
            multimask_output=multimask,
        )
        order = np.argsort(-ious, kind="stable")[:candidates]
        return [(masks[number] > 0, float(ious[number])) for number in order]

    def mask_logits(self, mask: BoolMask) -> NDArray[np.float32]:
        """Return ``float32 [1, h, w]``: a mask of the picture's size as ``mask_input``.

        Raises:
            PromptError: It has another size or is empty.
        """
        width, height = self._picture().size
        if mask.shape != (height, width):
            raise PromptError(
                f"the mask has {mask.shape[-1]}x{mask.shape[0]} pixels, but the picture {width}x{height}: give one of "
                "the same size"
            )
        if not mask.any():
            raise PromptError("the mask is empty: paint the object")
        side = self._mask_side()
        share = functional.interpolate(
            torch.from_numpy(np.ascontiguousarray(mask))[None, None].float(), (side, side), mode="area"
        )
        logits: NDArray[np.float32] = ((2 * share - 1) * _MASK_LOGIT)[0].numpy()
        return logits

    def _picture(self) -> Embedding:
        if self._embedding is None:
            raise PromptError("there is no picture yet: call set_image first")
        return self._embedding

    def _mask_side(self) -> int:
        return int(self._model.network.sam_prompt_encoder.mask_input_size[0])

    def _points(
        self, coords: Any, labels: Any, box: Any, in_pixels: bool, size: tuple[int, int]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return ``[B, P, 2]`` in pixels of the model input and ``int32 [B, P]``; the box's corners come first."""
        found: list[tuple[Tensor, Tensor]] = []
        if box is not None:
            corners = self._coordinates(box, "box", 4, in_pixels, size).reshape(-1, 2, 2)
            kinds = torch.tensor([[2, 3]], dtype=torch.int32, device=self.device)
            found.append((corners, kinds.expand(len(corners), -1)))
        if coords is not None:
            if labels is None:
                raise PromptError("point_coords without point_labels: give 1 or 0 for each point")
            points = self._coordinates(coords, "point_coords", 2, in_pixels, size)
            marks = torch.as_tensor(np.asarray(labels), dtype=torch.int32, device=self.device)
            if points.ndim == 2:
                points, marks = points[None], marks[None]
            if points.ndim != 3 or marks.shape != points.shape[:2]:
                raise PromptError(
                    f"point_coords has shape {tuple(points.shape)} and point_labels {tuple(marks.shape)}: expected "
                    "[N, 2] and [N]"
                )
            found.append((points, marks))
        if not found:
            return None, None
        if len({len(points) for points, _ in found}) > 1:
            raise PromptError(f"there are {len(found[0][0])} boxes but points of {len(found[1][0])} objects")
        joined = [torch.cat(parts, dim=1) for parts in zip(*found, strict=True)]
        return joined[0], joined[1]

    def _coordinates(self, values: Any, name: str, last: int, in_pixels: bool, size: tuple[int, int]) -> Tensor:
        try:
            given = to_device(np.asarray(values, dtype=np.float32), self._model)
        except (TypeError, ValueError) as error:
            raise PromptError(f"{name} is invalid ({error}): expected numbers") from None
        if not given.ndim or given.shape[-1] != last or not given.numel() or not bool(given.isfinite().all()):
            raise PromptError(f"{name} has shape {tuple(given.shape)}: expected [..., {last}] of finite numbers")
        points = given.reshape(*given.shape[:-1], 2, 2) if last == 4 else given
        if in_pixels:
            points = points / torch.tensor(size, dtype=torch.float32, device=self.device)
        return points * self._model.image_size

    def _mask_input(self, values: Any) -> Tensor:
        given = to_device(np.asarray(values, dtype=np.float32), self._model)
        side = self._mask_side()
        if given.ndim not in (3, 4) or given.shape[-3:] != (1, side, side):
            raise PromptError(f"mask_input has shape {tuple(given.shape)}: expected low-res logits [1, {side}, {side}]")
        return given[None] if given.ndim == 3 else given

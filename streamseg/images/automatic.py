"""Everything in a picture, without a prompt: ``SAM2AutomaticMaskGenerator`` with less work.

The original is ``sam2/automatic_mask_generator.py``. It spends most time on full-resolution copies of masks that it
discards; :mod:`~streamseg.tracker.sam2.point_decoder` and :mod:`~streamseg.images.selection` avoid them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from streamseg.images.candidates import Candidates, candidates, joined
from streamseg.images.crops import Crop, crops, point_grids
from streamseg.images.embedding import Embedding, Picture, check_picture, embed
from streamseg.images.found_mask import FoundMask
from streamseg.images.model import ImageModel, as_image_model, load_model
from streamseg.images.parameters import AutomaticParameters, PointGrids, parameters
from streamseg.images.records import record
from streamseg.images.reference_decoder import LOGITS_LIMIT, ReferenceDecoder
from streamseg.images.regions import without_small_regions
from streamseg.images.selection import Filter, select, suppress
from streamseg.tracker.sam2.point_decoder import Decoded, PointDecoder


class AutomaticMasks:
    """Finds all masks of a picture. Not thread-safe.

    Args:
        model: From :func:`~streamseg.images.model.load_model`, or a model built with sam2.
        preset: A preset of :mod:`~streamseg.images.parameters`; parameters replace its values.
        **given: Parameters of ``SAM2AutomaticMaskGenerator`` by their names, and ``exact``, see
            :class:`~streamseg.images.parameters.AutomaticParameters`. Thresholds default to the model's own.

    Attributes:
        parameters: The parameters in use.

    Raises:
        ConfigError: A parameter is unknown or invalid.
        ModelError: ``model`` is not a model.
    """

    def __init__(self, model: ImageModel | SAM2Base, *, preset: str | None = None, **given: Any) -> None:
        self._model = as_image_model(model)
        self.parameters: AutomaticParameters = parameters(given, preset=preset, model=self._model.name)
        self._grids: PointGrids = point_grids(self.parameters)

    @classmethod
    def from_pretrained(cls, model_id: str, **given: Any) -> AutomaticMasks:
        """Load a model by its name and use it. Blocks: seconds.

        Args:
            model_id: A name that :func:`~streamseg.images.model.load_model` takes.
            **given: Parameters, and the arguments of ``load_model``.

        Raises:
            ConfigError: A parameter is unknown or invalid.
            ModelError: The model cannot be loaded.
        """
        own = ("config", "image_size", "device", "dtype", "apply_postprocessing")
        loading = {name: given.pop(name) for name in own if name in given}
        return cls(load_model(model_id, **loading), **given)

    def generate(self, image: Picture) -> list[dict[str, Any]]:
        """Return the masks of a picture as the reference's records.

        Blocks: for one encoding per crop, and one decoding per point.

        Args:
            image: ``uint8 [H, W, 3]`` RGB, or a PIL image.

        Returns:
            Dictionaries with ``segmentation`` (see ``output_mode``), ``area``, ``bbox`` (x, y, width, height),
            ``predicted_iou``, ``point_coords``, ``stability_score`` and ``crop_box``; without crops the best predicted
            IoU comes first.

        Raises:
            PromptError: It is not a valid picture.
        """
        return [record(found, self.parameters.output_mode) for found in self.find(image)]

    def find(self, image: Picture) -> list[FoundMask]:
        """Return the masks of a picture in compact form; otherwise like :meth:`generate`."""
        picture, values = check_picture(image), self.parameters
        size = picture.shape[1], picture.shape[0]
        parts = crops(size, values.crop_n_layers, values.crop_overlap_ratio)
        with torch.no_grad():
            found = [mask.uncrop(size) for part in parts for mask in self._find_in(picture, part)]
        if len(parts) > 1:
            # Prefer masks of smaller crops.
            scores = [1 / (mask.crop.size[0] * mask.crop.size[1]) for mask in found]
            found = [found[number] for number in suppress(found, scores, values.crop_nms_thresh)]
        if values.min_mask_region_area > 0:
            threshold = max(values.box_nms_thresh, values.crop_nms_thresh)
            found = without_small_regions(found, values.min_mask_region_area, threshold)
        return found

    def _find_in(self, picture: Picture, crop: Crop) -> list[FoundMask]:
        """Return the masks of a crop, in pixels of the crop."""
        height, width = picture.shape[:2]
        part = picture[crop.y0 : crop.y1, crop.x0 : crop.x1]
        points = torch.as_tensor(self._grids[crop.layer] * np.array(crop.size), dtype=torch.float32)
        if not len(points):
            return []
        with self._model.precision():
            decoder = self._decoder(embed(self._model, part, exact=self.parameters.exact))
        batches = torch.split(points.to(self._model.device), decoder.batch)
        parts = [self._decode(decoder, batch, crop.size) for batch in batches]
        with self._model.full_precision():
            return select(joined(parts), Filter(self.parameters, crop, (width, height)))

    def _decoder(self, embedding: Embedding) -> ReferenceDecoder | PointDecoder:
        batch = self.parameters.points_per_batch
        if self.parameters.exact:
            return ReferenceDecoder(self._model, embedding, batch)
        return PointDecoder(self._model.network, embedding.top, embedding.stride8, embedding.stride4, batch)

    def _decode(self, decoder: ReferenceDecoder | PointDecoder, points: Tensor, size: tuple[int, int]) -> Candidates:
        """Return the candidates of one batch of ``[B, 2]`` points in pixels of a crop of that size."""
        values = self.parameters
        above = values.pred_iou_thresh if values.pred_iou_thresh > 0 else None
        scale = torch.tensor(size, dtype=torch.float32, device=points.device)
        at = points / scale * self._model.image_size
        with self._model.precision():
            if values.use_m2m:
                every = decoder(at, None, multimask=values.multimask_output, above_iou=None)
                found = _refined(decoder, at, every, above)
            else:
                found = decoder(at, None, multimask=values.multimask_output, above_iou=above)
        with self._model.full_precision():
            return candidates(found, points, size, values)


def _refined(decoder: ReferenceDecoder | PointDecoder, points: Tensor, found: Decoded, above: float | None) -> Decoded:
    """Decode masks once more, each with its own low-res logits as a prompt beside its point."""
    logits = found.logits.clamp(-LOGITS_LIMIT, LOGITS_LIMIT)
    parts = []
    for which, mask in zip(*(torch.split(values, decoder.batch) for values in (found.points, logits)), strict=True):
        again = decoder(points[which], mask, multimask=False, above_iou=above)
        parts.append(again._replace(points=which[again.points]))
    return Decoded(*(torch.cat(values) for values in zip(*parts, strict=True)))

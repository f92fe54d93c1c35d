"""The type ``text``: finds objects described by text, with Grounding DINO or OWLv2, run by transformers.

The model is a folder on this machine; nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import msgspec
import numpy as np

from streamseg.config.prompter_settings import TextSettings
from streamseg.errors import ConfigError
from streamseg.prompters.proposal import Picture, Proposal, Tracked


def create(settings: Mapping[str, Any]) -> TextPrompter:
    """Return the prompter.

    Blocks: to import transformers and to load the model.

    Raises:
        ConfigError: transformers is not installed, or the folder has no model for this.
    """
    return TextPrompter(msgspec.convert(settings, TextSettings))


class TextPrompter:
    """Proposes boxes of the described objects.

    Args:
        settings: The settings.

    Raises:
        ConfigError: transformers is not installed, or the folder has no model for this.
    """

    def __init__(self, settings: TextSettings) -> None:
        try:
            import torch
            from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor
        except ImportError as error:
            raise ConfigError(f"type: text needs a package: pip install 'streamseg[text]': {error}") from None
        self._settings = settings
        self._torch = torch
        try:
            self._processor = AutoProcessor.from_pretrained(settings.model, local_files_only=True)
            model = AutoModelForZeroShotObjectDetection.from_pretrained(settings.model, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"settings.model: {settings.model} has no Grounding DINO or OWLv2 model: {str(error)[:200]}"
            ) from None
        self._model = model.to(settings.device).eval()

    def prompts(self, picture: Picture, tracked: Sequence[Tracked]) -> list[Proposal]:
        """Return the described objects on a picture."""
        del tracked
        texts = [text.lower() for text in self._settings.texts]
        inputs = self._processor(images=picture, text=[texts], padding=True, return_tensors="pt")
        inputs = inputs.to(self._settings.device)
        with self._torch.inference_mode():
            outputs = self._model(**inputs)
        result = self._processor.post_process_grounded_object_detection(
            outputs, threshold=self._settings.score, target_sizes=[picture.shape[:2]], text_labels=[texts]
        )[0]
        found = [self._label(label) for label in result["text_labels"]]
        named = [place for place, label in enumerate(found) if label is not None]
        labels = [label for label in found if label is not None]
        boxes, scores = result["boxes"].cpu().numpy()[named], result["scores"].cpu().numpy()[named]
        corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        kept = cv2.dnn.NMSBoxes(corner_and_size.tolist(), scores.tolist(), 0.0, self._settings.overlap)
        return [
            Proposal(box=boxes[place].tolist(), label=labels[place], score=min(float(scores[place]), 1.0))
            for place in np.asarray(kept, np.intp).reshape(-1)
        ]

    def _label(self, found: str) -> str | None:
        """Return the configured text that matches the model's wording; None if there is none.

        Grounding DINO may return a part of one text, or of two.
        """
        words = set(found.lower().split())
        common = {text: len(words & set(text.lower().split())) for text in self._settings.texts}
        best = max(common, key=lambda text: common[text])
        return best if common[best] else None

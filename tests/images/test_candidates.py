from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from streamseg.images.candidates import low_res_boxes
from streamseg.images.found_mask import packed


@pytest.mark.parametrize("size", [(640, 360), (64, 48), (33, 90)])
def test_boxes_of_low_res_masks_are_nearly_those_at_full_size(size: tuple[int, int]) -> None:
    noise = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(5)) - 0.8
    logits = functional.interpolate(noise, (48, 48), mode="bicubic")[:, 0]
    logits = logits[logits.amax(dim=(1, 2)) > 0.2]
    full = functional.interpolate(logits[None], size[::-1], mode="bilinear")[0].numpy()
    given = low_res_boxes(logits, size).numpy()
    wanted = np.array([packed(mask > 0, (0, 0))[0] for mask in full])
    errors = np.abs(given - wanted).max(axis=1)
    assert len(errors) > 20
    assert np.median(errors) <= 1
    assert np.quantile(errors, 0.9) <= 2


def test_boxes_of_masks_at_the_edges_stay_inside() -> None:
    logits = torch.full((1, 16, 16), 5.0)
    assert low_res_boxes(logits, (320, 200)).tolist() == [[0, 0, 319, 199]]

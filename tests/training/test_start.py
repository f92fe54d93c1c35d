from __future__ import annotations

import torch

from streamseg.tracker.sam2.build import build_model
from training.start import start_weights
from training.trainer import set_image_size

SIDE_PX = 128


def test_a_click_changes_the_cells_around_it_most() -> None:
    """Before any training, the cells that a click changes most are those around it."""
    torch.manual_seed(0)
    model = build_model("nano", seed=0)
    pictures = torch.randn(2, 3, SIDE_PX, SIDE_PX)
    start_weights(model, None, pictures)
    set_image_size(model, SIDE_PX)
    attention = model.sam_mask_decoder.transformer.layers[0].cross_attn_image_to_token
    places = [(20.0, 20.0), (100.0, 30.0), (60.0, 110.0)]
    with torch.no_grad():
        cells = model.sam_prompt_encoder.get_dense_pe().flatten(2).transpose(1, 2)
        for x, y in places:
            point = (torch.tensor([[[x, y]]]), torch.tensor([[1]]))
            tokens, _ = model.sam_prompt_encoder(points=point, boxes=None, masks=None)
            likeness = (attention.q_proj(cells) * attention.k_proj(tokens[:, :1])).sum(-1)
            grid = SIDE_PX // 16
            nearest = int(likeness.argmax())
            assert abs(nearest % grid - x // 16) <= 1, (x, y, nearest)
            assert abs(nearest // grid - y // 16) <= 1, (x, y, nearest)

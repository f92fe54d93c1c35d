"""Image features of single pictures with a fraction of the memory of sam2's encoder, equal up to rounding.

Memory peaks in the first blocks of the trunk: at 1024 px they have 65,536 tokens, and attention and linear layers hold
about ten copies of them. Blocks with windowed attention compute nothing across windows, so here they run on one strip
of windows at a time. The neck is the tracker's: it never makes the two finest levels in full width, nor position
encodings, which single pictures do not use.
"""

from __future__ import annotations

from typing import Final

from sam2.modeling.backbones.hieradet import Hiera, MultiScaleBlock
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn

from streamseg.tracker.sam2.image_encoder import FixedImageEncoder, Levels

_STRIP_VALUES: Final = 2**20
"""Values of the tokens of a strip: 4 MiB. A block makes about ten copies of them."""


def encode(network: SAM2Base, image: Tensor) -> Levels:
    """Encode ``[1, 3, image_size, image_size]``, normalized.

    Raises:
        ModelError: Neck or trunk is not of a kind that sam2 publishes.
    """
    trunk = network.image_encoder.trunk
    in_strips = isinstance(trunk, Hiera) and image.device.type == "cpu"  # a GPU is faster with whole maps
    encoder = FixedImageEncoder(network, HieraInStrips(trunk) if in_strips else trunk)
    levels: Levels = encoder(image)
    return levels


class HieraInStrips(nn.Module):
    """The trunk Hiera with less memory.

    Args:
        trunk: The model's trunk; its weights are shared.
        strip_values: Maximum number of token values in a strip, unless one row of windows has more.
    """

    def __init__(self, trunk: Hiera, strip_values: int = _STRIP_VALUES) -> None:
        super().__init__()
        self._trunk = trunk
        self._strip_values = strip_values

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps ``[B, C, h, w]`` of the trunk's stages, the finest first."""
        trunk = self._trunk
        hidden = trunk.patch_embed(images)
        hidden = (hidden + trunk._get_pos_embed(hidden.shape[1:3])).contiguous()
        found = []
        for number, block in enumerate(trunk.blocks):
            hidden = self._run(block, hidden)
            if number in trunk.stage_ends:
                found.append(hidden.permute(0, 3, 1, 2))
        return found

    def _run(self, block: MultiScaleBlock, hidden: Tensor) -> Tensor:
        """Apply a block to ``[B, h, w, C]``."""
        batch, height, width, channels = hidden.shape
        window = int(block.window_size)
        rows = self._strip_values // (batch * width * channels) // max(window, 1) * window
        rows = max(rows, window)
        if not window or rows >= height:
            whole: Tensor = block(hidden)
            return whole
        stride = int(block.q_stride[0]) if block.q_stride else 1
        result = hidden.new_empty(batch, height // stride, width // stride, block.dim_out)
        for top in range(0, height, rows):
            result[:, top // stride : (top + rows) // stride] = block(hidden[:, top : top + rows])
        return result

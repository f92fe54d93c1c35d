"""The encoder in numpy writes what pycocotools writes."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from streamseg.protocol.mask_codec import decode_mask
from streamseg.protocol.rle_encoders import encode_with_numpy
from tests.protocol.test_mask_codec import blob

MASKS = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(lambda shape: arrays(np.bool_, shape))
LARGE = np.zeros((2000, 3000), bool)
LARGE[1999, 2999] = LARGE[0, 0] = True


@given(mask=MASKS)
@example(mask=np.zeros((1, 1), bool))
@example(mask=np.ones((1, 1), bool))
@example(mask=np.ones((70, 90), bool))
@example(mask=blob(300, 211))
@example(mask=LARGE)
def test_the_numpy_encoder_writes_what_pycocotools_writes(mask: np.ndarray) -> None:
    written = encode_with_numpy(mask.view(np.uint8))
    assert written == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    np.testing.assert_array_equal(decode_mask(written, (mask.shape[1], mask.shape[0]), "coco_rle"), mask)

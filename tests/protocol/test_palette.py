"""The colors of objects are distinct for any color vision."""

from __future__ import annotations

import itertools

import numpy as np

from streamseg.protocol.palette import PALETTE, color_of

# Machado, Oliveira and Fernandes 2009, severity 1.0, for linear RGB.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
TO_LMS = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.63]]
TO_OKLAB = [[0.21045, 0.79362, -0.00407], [1.978, -2.42859, 0.45059], [0.0259, 0.78277, -0.80868]]
DISTINCT = 0.045
"""Distance in OKLab that two areas of color need to be told apart at a glance; a just noticeable one is about 0.02."""


def oklab(linear):
    return np.cbrt(np.clip(linear, 0, 1) @ np.transpose(TO_LMS)) @ np.transpose(TO_OKLAB)


def test_all_are_distinct_for_any_color_vision():
    srgb = np.array(PALETTE) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    for name, matrix in VISIONS.items():
        seen = oklab(linear @ np.transpose(matrix))
        for one, other in itertools.combinations(range(len(PALETTE)), 2):
            distance = np.linalg.norm(seen[one] - seen[other])
            assert distance > DISTINCT, (name, PALETTE[one], PALETTE[other])


def test_twenty_before_one_repeats_and_the_first_never_change():
    assert len({color_of(obj_id) for obj_id in range(1, 21)}) == 20
    assert color_of(21) == color_of(1) == (86, 180, 233)

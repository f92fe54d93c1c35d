"""Scores as published: bounded, rounded, and always valid in JSON."""

from __future__ import annotations

import math


def score_of(value: float) -> float:
    """Return an IoU as published: clamped to 0..1 and rounded. NaN and infinity, which JSON lacks, become 0."""
    return round(min(max(value, 0.0), 1.0), 4) if math.isfinite(value) else 0.0


def presence_of(object_score_logits: float) -> float:
    """Return the probability that an object is visible, rounded; 0 for NaN."""
    if math.isnan(object_score_logits):
        return 0.0
    return round(1.0 / (1.0 + math.exp(-min(max(object_score_logits, -60.0), 60.0))), 4)

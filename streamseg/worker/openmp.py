"""Sets how OpenMP's threads wait for each other."""

from __future__ import annotations

import os


def configure_openmp() -> None:
    """Set how OpenMP's threads wait, unless the user did. Must run before torch loads its OpenMP.

    By default, threads spin for a long time while they wait for each other. When a capture process takes one thread's
    core, the others spin for whole time slices: nano with 3 objects on 2 busy cores takes 575 ms a frame spinning,
    203 ms passive. Passive threads sleep at once, but a frame has hundreds of waits shorter than a wake-up, so GNU's
    OpenMP is set to spin for about 50 us first: nano with one object on two idle Zen 4 cores takes 30 ms instead of
    51 ms, and the same 55 ms beside a busy process.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")

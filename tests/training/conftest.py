from __future__ import annotations

import sys
from pathlib import Path

from tests.one_thread import one_thread as one_thread

REPOSITORY = Path(__file__).parents[2]

# The trainer is no part of the package: it is run from a checkout.
sys.path.insert(0, str(REPOSITORY))

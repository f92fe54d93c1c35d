"""The limit on open files, in processes of their own: it cannot be raised again where the hard one was lowered."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

_CODE = """
import resource, sys
from streamseg.common.open_files import raise_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
print(raise_open_files(512), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def raised(soft: int, hard: int) -> str:
    command = [sys.executable, "-c", _CODE, str(soft), str(hard)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


@pytest.mark.parametrize(
    ("soft", "hard", "result"), [(256, 1024, "True 512"), (256, 400, "False 400"), (600, 1024, "True 600")]
)
def test_the_limit_is_raised_as_far_as_needed_and_allowed(soft, hard, result):
    assert raised(soft, hard) == result


def test_no_limit_stays_none():
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] != resource.RLIM_INFINITY:
        pytest.skip("the hard limit is finite")
    assert raised(resource.RLIM_INFINITY, resource.RLIM_INFINITY) == f"True {resource.RLIM_INFINITY}"

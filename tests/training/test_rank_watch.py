from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def _is_alive(pid: str) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "code", "reason"),
    [
        ("end at the start", 1, "rank 1 ended: exit code 3"),
        ("kill 1", 1, "rank 1 ended: exit code -9"),
        ("kill 0", -9, "rank 0 ended: killed"),
        ("kill 0 at the start", -9, "rank 0 ended: killed"),
        ("raise 0", 1, "rank 0 ended: ValueError('no such picture')"),
    ],
)
def test_a_group_ends_with_its_first_rank(tmp_path: Path, how: str, code: int, reason: str) -> None:
    command = [sys.executable, "-m", "tests.training.broken_group", str(tmp_path), how]
    errors = tmp_path / "errors"
    with errors.open("w") as file:
        assert subprocess.run(command, cwd=REPOSITORY, stderr=file, timeout=120).returncode == code
    deadline = time.monotonic() + 20
    while any(_is_alive(path.read_text()) for path in tmp_path.glob("pid?")):
        assert time.monotonic() < deadline, "a rank waits for ever"
        time.sleep(0.1)
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [
        {"event": "ended", "reason": reason}
    ]
    assert f"{reason}; all ranks end\n" in errors.read_text()

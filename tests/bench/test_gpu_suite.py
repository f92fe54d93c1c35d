"""The suite for a GPU: its limits and how it resumes, with an interpreter that only notes what it is given."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUITE = ROOT / "bench" / "gpu_suite.sh"

NOTES = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["NOTES"], "a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
sys.exit(any(name in " ".join(sys.argv) for name in os.environ["FAILS"].split()))
"""

PARSES = """
import argparse, importlib, json, sys
from pathlib import Path
class Parsed(Exception): pass
parse = argparse.ArgumentParser.parse_args
def parse_only(self, *given):
    parse(self, *given)
    raise Parsed
argparse.ArgumentParser.parse_args = parse_only
for line in sys.stdin:
    sys.argv = json.loads(line)
    try:
        importlib.import_module(Path(sys.argv[0]).stem).main()
    except Parsed:
        print(sys.argv[0])
"""


class Suite:
    """Runs it, and reads what it left."""

    def __init__(self, folder: Path) -> None:
        self.out, self._notes, self._python = folder / "out", folder / "notes", folder / "python"
        self._python.write_text(NOTES)
        self._python.chmod(0o700)

    def run(self, *parts: str, fails: str = "", **environment: str) -> tuple[int, list[list[str]]]:
        """Return the exit status and the arguments of each process."""
        self._notes.write_text("")
        own = {"PYTHON": str(self._python), "NOTES": str(self._notes), "FAILS": fails, **environment}
        done = subprocess.run(
            [SUITE, self.out, *parts], env={**os.environ, **own}, stdout=subprocess.DEVNULL, timeout=120, check=False
        )
        return done.returncode, [json.loads(line) for line in self._notes.read_text().splitlines()]

    def finished(self) -> set[str]:
        return {path.stem for path in self.out.glob("*.done")}


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return Suite(tmp_path)


def test_suite_resumes_and_retries_failed_parts_last(suite: Suite) -> None:
    status, ran = suite.run(fails="test_cuda swap.py")
    assert status == 1
    assert len(suite.finished()) == len(ran) - 2
    status, ran = suite.run(fails="swap.py")
    assert (status, ["swap.py" in " ".join(each) for each in ran]) == (1, [False, True])
    assert suite.run()[0] == 0
    assert suite.run() == (0, [])


def test_nothing_starts_without_time_left(suite: Suite) -> None:
    suite.out.mkdir()
    (suite.out / "seconds").write_text("775\n")
    assert suite.run() == (1, [])
    status, ran = suite.run("swap")
    assert (status, len(ran), suite.finished()) == (0, 1, {"swap"})
    assert suite.run(BUDGET="100000", CALL="10") == (1, [])


@pytest.mark.slow
def test_every_script_accepts_its_arguments(tmp_path: Path) -> None:
    """One process imports them all, which is most of what this takes."""
    calls: list[list[str]] = []
    for dry in ("", "1"):
        (tmp_path / f"dry{dry}").mkdir()
        suite = Suite(tmp_path / f"dry{dry}")
        for parts in ((), ("vos_t_1024_1", "steady_t_512", "start")):
            calls += [call[2:] for call in suite.run(*parts, DRY=dry)[1] if call[0] == "-W"]
    assert len(calls) == 20
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PARSES],
        input="".join(f"{json.dumps(call)}\n" for call in calls),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "bench"), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.split() == [call[0] for call in calls], done.stderr[-2000:]

"""The tutorial's programs work as written: they find, receive and cut out the leaf of its scene."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "tutorial.md").read_text()
PROGRAMS = dict(zip(("find_leaf", "masks", "cutout"), re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL), strict=True))


@pytest.mark.slow
def test_programs_of_the_tutorial_work(daemon, tmp_path):
    (source,) = set(re.findall(r"--source '(scene:[^']*)'", TEXT))
    running = daemon({"streams": {"cam": {"source": source}}, "model": {"threads": 1}})
    running.wait_log("ready: masks at")

    def start(name: str) -> subprocess.Popen[str]:
        program = PROGRAMS[name].replace("tcp://127.0.0.1:5555", running.endpoint)
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(running.runtime), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-u", "-c", program]
        return subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True)

    with start("find_leaf") as program:
        assert re.fullmatch(
            r"object 1 on frame \d+: \d{3,} pixels, score [01]\.\d+\n", program.communicate(timeout=60)[0]
        )
    with start("masks") as program:
        assert program.stdout is not None
        assert re.match(r"\d+ 1 leaf \w+ \(\d+, \d+, \d+, \d+\) \d+", program.stdout.readline())
        program.kill()
    with start("cutout") as program:
        assert re.match(r"leaf\.png: \d+x\d+ pixels of frame", program.communicate(timeout=60)[0])
    leaf = cv2.imread(str(tmp_path / "leaf.png"), cv2.IMREAD_UNCHANGED)
    seen = leaf[leaf[..., 3] > 0]
    assert 100 < len(seen) < leaf.shape[0] * leaf.shape[1]
    assert seen[:, 2].mean() > 2 * seen[:, 0].mean()  # red, not the blue of the water

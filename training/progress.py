"""Shows the progress of a run from its log: its last steps and its last validation.

python -m training.progress RUN
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def describe(run: Path) -> str:
    """Return the progress of the run in the folder ``run`` as text."""
    log = run / "log.jsonl"
    if not log.exists():
        return "nothing logged yet"
    trained: dict[str, Any] | None = None
    validated: dict[str, dict[str, Any]] = {}
    ended = ""
    for line in log.read_text().splitlines():
        fields = json.loads(line)
        ended = ""
        if fields["event"] == "train":
            trained = fields
        elif fields["event"] == "ended":
            ended = f"all ranks ended, because {fields['reason']}"
        else:
            validated[fields["prompt"]] = fields
    lines = []
    if trained is not None:
        lines.append(
            f"step {trained['step']}, {trained['minutes']:.0f} minutes, loss {trained['loss']:.3f}, "
            f"{trained.get('steps_a_second', 0):.2f} steps/s; logged {_ago(log)} ago"
        )
    for prompt, fields in validated.items():
        lines.append(
            f"step {fields['step']}, {prompt}: IoU {fields['iou']:.3f}, first {fields['first_iou']:.3f}, "
            f"last {fields['last_iou']:.3f}, presence {fields['presence']:.3f}, "
            f"predicted with true IoU {fields['iou_correlation']:.2f}"
        )
    if ended:  # and nothing was logged since
        lines.append(ended)
    return "\n".join([*lines, _saved(run / "last.pt")])


def _saved(path: Path) -> str:
    return f"saved {_ago(path)} ago" if path.exists() else "not saved yet"


def _ago(path: Path) -> str:
    return f"{(time.time() - path.stat().st_mtime) / 60:.0f} minutes"


if __name__ == "__main__":
    print(describe(Path(sys.argv[1])))

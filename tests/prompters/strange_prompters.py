"""Prompters that misbehave, and one that does not. Each is a type of the form FILE.py:FUNCTION."""

from __future__ import annotations

import os
import threading

import numpy as np

from streamseg.errors import ConfigError
from streamseg.prompters import Proposal


class _Prompter:
    def __init__(self, prompts):
        self._prompts = prompts
        self._calls = 0

    def prompts(self, picture, tracked):
        self._calls += 1
        return self._prompts(picture, self._calls)


def hangs(settings):
    return _Prompter(lambda _picture, _call: threading.Event().wait())


def slow(settings):
    """A detector of red things that takes longer than the newest frames are held."""

    def prompts(picture, _call):
        threading.Event().wait(settings["seconds"])
        rows, columns = np.nonzero((picture[..., 0] > 150) & (picture[..., 1:] < 110).all(axis=2))
        if not len(rows):
            return []
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        return [Proposal(box=tuple(map(float, box)), label="late", score=0.9)]

    return _Prompter(prompts)


def crashes(settings):
    return _Prompter(lambda _picture, call: [] if call < 3 else os.abort())


def raises(settings):
    def prompts(_picture, call):
        raise RuntimeError(f"call {call}")

    return _Prompter(prompts)


def talks_nonsense(settings):
    boxes = [(np.nan,) * 4, (1, 2), (0, 0, 1e308, 1e308), (9, 9, 1, 1), "box", np.zeros((4, 4))]
    answers = [
        lambda picture: [Proposal(box=box) for box in boxes],
        lambda picture: [Proposal(mask=np.ones((3, 3), bool)), Proposal(mask=np.full(picture.shape, np.nan))],
        lambda picture: [Proposal(box=(0, 0, 9, 9), label="x" * 10_000, score=np.inf)] * 1_000_000,
        lambda picture: [None, 5, object(), "text", {"box": 1}],
        lambda picture: 7,
        lambda picture: [Proposal(box=(0, 0, 1e-9, 1e-9)), Proposal(points=[(np.nan, 1)])],
    ]
    return _Prompter(lambda picture, call: answers[call % len(answers)](picture))


def refuses(settings):
    raise ConfigError(f"settings.level: {settings['level']!r} is unknown: write high or low")


def makes_nothing(settings):
    return None

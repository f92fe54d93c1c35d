"""Nano on OpenVINO, for tests that track for long: converted once for all processes of the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamseg.config.schema import ModelConfig
from tests.made_once import SharedFolders

NANO_ON_OPENVINO = ModelConfig(name="nano", device="cpu", engine="openvino", dtype="bfloat16", threads=1)
"""The fastest on a CPU. Where that lacks bfloat16, OpenVINO computes in float32."""


@pytest.fixture
def nano_networks(shared_folders: SharedFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has a tracker with ``NANO_ON_OPENVINO`` find its networks."""

    def convert(folder: Path) -> None:
        from streamseg.tracker.create import create_tracker

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(folder))
            tracker = create_tracker(NANO_ON_OPENVINO)
            tracker.warm_up(lambda _what, _share: None)
            assert tracker.engine == "openvino"

    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_folders.filled("nano networks", convert)))

"""Messages that cannot be read are counted, and the log stays short."""

from __future__ import annotations

import logging

import pytest

from streamseg.ipc.invalid_messages import InvalidMessages


def test_a_flood_is_counted_and_logged_a_few_times(caplog: pytest.LogCaptureFixture):
    invalid = InvalidMessages(logging.getLogger("ipc"), "invalid command")
    for _ in range(100_000):
        invalid.skip(ValueError("x" * 5000))
    assert invalid.count == 100_000
    assert len(caplog.records) == 17
    assert caplog.records[-1].message.startswith("invalid command skipped, 65536 so far: xxx")
    assert len(caplog.records[-1].message) < 300

"""Which occurrences of a repeated event are logged."""

from __future__ import annotations

from streamseg.common.repeated_logs import is_logged


def test_each_time_the_count_has_doubled():
    assert [count for count in range(100) if is_logged(count)] == [1, 2, 4, 8, 16, 32, 64]

import pytest

from streamseg.web.histogram import BOUNDS_S, Histogram


@pytest.mark.parametrize(("seconds", "place"), [(0, 0), (0.001, 0), (0.0011, 1), (2.5, 10), (2.6, 11), (1e9, 11)])
def test_a_duration_goes_into_its_class(seconds, place):
    histogram = Histogram()
    histogram.add(seconds)
    assert histogram.counts.index(1) == place
    assert len(histogram.counts) == len(BOUNDS_S) + 1
    assert histogram.total_s == seconds

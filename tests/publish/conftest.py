"""Publishers that end with their test."""

from __future__ import annotations

from contextlib import ExitStack, closing

import pytest

from tests.publish.publisher_children import PublisherProcess


@pytest.fixture
def start(tmp_path):
    """Start a publisher; ended at the end of the test."""
    with ExitStack() as stack:

        def start(**settings):
            return stack.enter_context(closing(PublisherProcess(tmp_path, **settings)))

        yield start


@pytest.fixture
def publisher(start):
    return start()

"""The tree of tests can be collected as a whole."""

from collections import Counter
from pathlib import Path


def test_test_modules_have_names_of_their_own():
    # Without packages pytest imports each by its bare name: the second of two stops the collection.
    names = Counter(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []

"""Finds the types of prompters: entry points of installed packages, and functions in Python files.

Imports none of them: a type is loaded only in the process that runs it.
"""

from __future__ import annotations

import difflib
from typing import Final

GROUP: Final = "streamseg.prompters"
_FORM: Final = ".py:"


def installed_types() -> list[str]:
    """Return the names of all installed types."""
    from importlib.metadata import entry_points  # takes 25 ms to import, and few need it

    return sorted({point.name for point in entry_points(group=GROUP)})


def own_file(name: str) -> tuple[str, str] | None:
    """Return the file and the function of a type of the form ``FILE.py:FUNCTION``; None if it has another form."""
    if _FORM not in name:
        return None
    file, _, function = name.rpartition(":")
    return file, function


def type_problem(name: str) -> str | None:
    """Return a message that a type is not installed, with the installed ones; None if it is."""
    known = installed_types()
    if name in known:
        return None
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{name!r} is not installed: {hint}there are {', '.join(known) or 'none'}; your own is FILE.py:FUNCTION"

"""Which types of prompters there are: entry points of installed packages, and functions of Python files.

Nothing is imported here: a type is only loaded in the process that runs it.
"""

from __future__ import annotations

import difflib
from importlib.metadata import entry_points
from typing import Final

GROUP: Final = "streamseg.prompters"
_FORM: Final = ".py:"


def installed_types() -> list[str]:
    """Return the names of all installed types."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def own_file(name: str) -> tuple[str, str] | None:
    """Return the file and the function of a type of the form ``FILE.py:FUNCTION``; None if it has another form."""
    if _FORM not in name:
        return None
    file, _, function = name.rpartition(":")
    return file, function


def type_problem(name: str) -> str | None:
    """Return why there is no such installed type, and which there are; None if there is one."""
    known = installed_types()
    if name in known:
        return None
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{name!r} is not installed: {hint}there are {', '.join(known) or 'none'}; your own is FILE.py:FUNCTION"

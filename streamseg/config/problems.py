"""Collects the problems of a configuration, so that a user can fix all of them at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from streamseg.common.redact import redact
from streamseg.sources.address import shown_address

Path = tuple[str | int, ...]
"""Path of a setting: ``("streams", "cam1", "prompts", 0, "box")``."""

_MAX_SHOWN: Final = 80
_HIDDEN: Final = "has a value, which is not shown, since it may be a secret"
_SECRET_NAME: Final = re.compile(r"pass|pwd|secret|token|key|auth|credential", re.IGNORECASE)


def path_name(path: Path) -> str:
    """Return a path as users write it: ``streams.cam1.prompts[0].box``."""
    name = ""
    for step in path:
        name += f"[{step}]" if isinstance(step, int) else f".{step}" if name else step
    return name


@dataclass(frozen=True, slots=True)
class Problem:
    """One invalid setting.

    Attributes:
        path: Its path; empty for the file as a whole.
        text: Its value and the fix, without passwords.
    """

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Template:
    """A setting that uses environment variables, before they are replaced.

    Attributes:
        text: As written in the file.
        values: Variable as written -> its value, which may be a password.
    """

    text: str
    values: Mapping[str, str]


@dataclass(slots=True)
class Problems:
    """The problems found so far.

    Attributes:
        templates: Settings that use environment variables; their values are never shown.
        found: In the order of discovery.
    """

    templates: Mapping[Path, Template] = field(default_factory=dict)
    found: list[Problem] = field(default_factory=list)

    def add(self, path: Path, text: str) -> None:
        """Record an invalid setting."""
        if (template := self.templates.get(path)) is not None:
            for variable, value in template.values.items():
                text = text.replace(value, variable) if value else text
            # Otherwise ${CLIP} in a message looks like a variable that is not set.
            for variable in [variable for variable in template.values if variable in text]:
                text += f" ({variable} {_HIDDEN if template.values[variable] else 'is empty'})"
        self.found.append(Problem(path, text))

    def shown_form(self, path: Path, value: object) -> object:
        """Return a plain value to show in another form: without passwords and values of variables."""
        values = [
            pair
            for here, template in self.templates.items()
            if here[: len(path)] == path
            for pair in template.values.items()
        ]
        return _masked_tree(value, values)

    def any_under(self, path: Path) -> bool:
        """Whether there is a problem at ``path`` or below it."""
        return any(problem.path[: len(path)] == path for problem in self.found)

    def show(self, path: Path, value: object) -> str:
        """Return a value for a message: short, and without passwords."""
        if (template := self.templates.get(path)) is not None:
            return _short(redact(template.text))
        if path and isinstance(path[-1], str) and _SECRET_NAME.search(path[-1]):
            return "***"
        match value:
            case None:
                return "empty"
            case bool():
                return "true" if value else "false"
            case str():
                return repr(_short(shown_address(value)))
            case Mapping():
                return "a group of settings"
            case Sequence() if all(isinstance(item, (int, float)) for item in value):
                return _short(_text(list(value)))
            case Sequence():
                return "a list"
            case _:
                return _short(redact(_text(value)))


def _masked_tree(value: object, variables: Sequence[tuple[str, str]]) -> object:
    match value:
        case str():
            for variable, text in variables:
                value = value.replace(text, variable) if text else value
            return _short(shown_address(value))
        case Mapping():
            return {
                _masked_tree(str(key), variables): "***"
                if _SECRET_NAME.search(str(key))
                else _masked_tree(item, variables)
                for key, item in value.items()
            }
        case Sequence():
            return [_masked_tree(item, variables) for item in value]
        case _:
            return value


def _text(value: object) -> str:
    try:
        return str(value)
    except ValueError:  # Python refuses to write that many digits
        return "a number of thousands of digits"


def _short(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."

"""Rewrites messages about settings to name options: a user who typed ``--point`` has not written any YAML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from streamseg.errors import ConfigError

_LINE: Final = re.compile(r"^  (?:line \d+: )?([\w.\[\]-]+): (.*)$")
_INDEX: Final = re.compile(r"\[\d+\]$")
_FORM: Final = re.compile(r"(: write|, for example) \w+: (.+)$")
_WORDS: Final = (
    (re.compile(r"set coords to (\w+)"), r"use --coords \1"),
    (re.compile(r"since coords is normalized"), "since they are fractions"),
    (re.compile(r"coords is pixels"), "numbers without % are pixels"),
    (re.compile(r"a mask stands alone: leave out its points and box"), "--mask stands alone: leave out --point, --box"),
    (re.compile(r"give \[x0, y0, x1, y1\] with x0 < x1 and y0 < y1"), "write X0,Y0,X1,Y1 with X0 < X1 and Y0 < Y1"),
    (re.compile(r"set (http\.token|publish\.allow_unauthenticated)"), r"use a CONFIG file with \1 set"),
)


def option_words(text: str) -> str:
    """Return a message reworded for the options that mark an object."""
    for pattern, words in _WORDS:
        text = pattern.sub(words, text)
    return text


@contextmanager
def settings_as_options(options: Mapping[str, str]) -> Iterator[None]:
    """Name options instead of settings in any :class:`~streamseg.errors.ConfigError`.

    Args:
        options: Path of a setting -> its option: ``{"model.device": "--device"}``. Lines about other settings stay.
    """
    try:
        yield
    except ConfigError as error:
        head, *lines = str(error).split("\n")
        named = [_named(line, options) for line in lines]
        if named and all(changed is not None for changed in named):
            head = head.replace("settings are", "options are").replace("setting is", "option is")
            head = head.removeprefix("configuration: ")
        text = "\n".join([head, *(changed or line for changed, line in zip(named, lines, strict=True))])
        raise type(error)(text) from None


def _named(line: str, options: Mapping[str, str]) -> str | None:
    """Return a line about a setting as one about its option; None if the setting has no option."""
    found = _LINE.fullmatch(line)
    option = options.get(found[1]) or options.get(_INDEX.sub("", found[1])) if found else None
    if found is None or option is None:
        return None
    text = _FORM.sub(lambda form: f"{form[1]} {option} {form[2]}", found[2])
    return f"  {option}: {option_words(text)}"

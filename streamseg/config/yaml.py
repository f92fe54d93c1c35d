"""Read a YAML file into plain values: safely, bounded, and with the lines that its settings stand on."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, ClassVar, Final

import yaml

from streamseg.config import problems
from streamseg.errors import ConfigError

MAX_BYTES: Final = 1024 * 1024
MAX_VALUES: Final = 20_000
"""Counted with every alias written out, so that a few anchors cannot grow into billions of values."""
MAX_DEPTH: Final = 20


class _Loader(yaml.SafeLoader):
    """Only ``true`` and ``false`` are booleans, as in YAML 1.2: ``on`` and ``off`` are the words of a setting."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


class Document:
    """A YAML file that was read.

    Attributes:
        name: Of the file, for messages.
        tree: Its content: dict, list, str, int, float, bool, None (and dates, which no setting takes).
    """

    def __init__(self, name: str, text: str) -> None:
        """Read ``text``.

        Args:
            name: Of the file.
            text: Its content.

        Raises:
            ConfigError: it is not YAML, holds a key twice, or is too large; the message names the line.
        """
        self.name = name
        try:
            loader = _Loader(text)
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise ConfigError(
                f"{name}:{line}: not valid YAML: a control character (code {error.character}): delete it"
            ) from None
        try:
            self._root = loader.get_single_node()
            if self._root is not None:
                _check_size(name, self._root)
                _check_keys(name, self._root)
            self.tree: Any = None if self._root is None else loader.construct_document(self._root)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"{name}:{mark.line + 1}" if mark else name
            raise ConfigError(f"{where}: not valid YAML: {error.problem or error.context}{_hint(error)}") from None
        except yaml.YAMLError as error:
            raise ConfigError(f"{name}: not valid YAML: {error}") from None
        except RecursionError:
            raise ConfigError(f"{name}: nested too deeply: settings have at most {MAX_DEPTH} levels") from None
        finally:
            loader.dispose()

    def line(self, path: problems.Path) -> int:
        """Return the line on which a setting stands, or the nearest one above it that exists; from 1."""
        node, line = self._root, 1
        for step in path:
            found = _child(node, step)
            if found is None:
                break
            key, node = found
            line = key.start_mark.line + 1
        return line


def read_document(path: Path) -> Document:
    """Read a configuration file.

    Raises:
        ConfigError: it cannot be read, is larger than :data:`MAX_BYTES`, is not UTF-8 or not proper YAML.
    """
    try:
        if path.is_dir():
            raise ConfigError(f"{path} is a folder: give the path of a YAML file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"{path} cannot be read ({reason}): give the path of a YAML file") from None
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_BYTES // 1024} KiB: that is no configuration of streamseg")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None
    return Document(str(path), text)


def _check_size(name: str, root: yaml.Node) -> None:
    """Walks aliases as often as they are used: what comes after (checks, conversion) does so too."""
    count = 0
    waiting = [(root, 1)]
    while waiting:
        node, depth = waiting.pop()
        count += 1
        if count > MAX_VALUES:
            raise ConfigError(f"{name}: more than {MAX_VALUES} values with all anchors written out")
        if depth > MAX_DEPTH:
            raise ConfigError(
                f"{name}:{node.start_mark.line + 1}: nested too deeply: settings have at most {MAX_DEPTH} levels"
            )
        if isinstance(node, yaml.MappingNode):
            waiting += [(child, depth + 1) for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(child, depth + 1) for child in node.value]


def _check_keys(name: str, root: yaml.Node) -> None:
    """PyYAML lets the last of two equal keys win without a word."""
    waiting, seen_nodes = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen_nodes:
            continue
        seen_nodes.add(id(node))
        if isinstance(node, yaml.MappingNode):
            first: dict[Hashable, int] = {}
            for key, value in node.value:
                line = key.start_mark.line + 1
                if isinstance(key, yaml.ScalarNode):
                    if key.value in first:
                        raise ConfigError(
                            f"{name}:{line}: {key.value!r} stands twice, first on line {first[key.value]}: "
                            "leave one of them out"
                        )
                    first[key.value] = line
                waiting += [key, value]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return (node.value[step], node.value[step]) if step < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == step:
                return key, value
    return None


def _hint(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or ""
    if "\\t" in problem or "tab" in problem:
        return " (indent with spaces, not with tabs)"
    if "mapping values are not allowed" in problem:
        return " (indent the lines of one group alike, and quote text that holds ': ')"
    if "undefined alias" in problem:
        return " (define it with & above its first use)"
    return ""

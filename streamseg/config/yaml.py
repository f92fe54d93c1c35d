"""Reads a YAML file into plain values: safe, bounded, and with the line of each setting.

Based on PyYAML, which the model builder needs anyway. ``ruamel.yaml`` would not make this shorter: in both, lines come
from composed nodes; its error for a duplicate key quotes the two values (perhaps passwords) but not the first line; and
YAML 1.2 booleans take one resolver here.
"""

from __future__ import annotations

import json
import os
import re
import select
import time
from collections.abc import Hashable
from pathlib import Path
from typing import Any, ClassVar, Final

import yaml

from streamseg.config import problems
from streamseg.errors import ConfigError

MAX_BYTES: Final = 1024 * 1024
MAX_VALUES: Final = 20_000
"""Counts every alias expanded, so that a few anchors cannot grow into billions of values."""
MAX_DEPTH: Final = 20
_MAX_WAIT_S: Final = 2.0


class _DepthError(yaml.YAMLError):
    """Values are nested too deeply on this line."""

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line


class _Loader(yaml.SafeLoader):
    """Reads only ``true`` and ``false`` as booleans, as in YAML 1.2: ``on`` and ``off`` are values of settings."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def fetch_flow_collection_start(self, TokenClass: type[yaml.Token]) -> None:  # noqa: N803 - PyYAML's own name
        """Refuse deep nesting while scanning: PyYAML looks 1,024 characters ahead, which takes seconds in brackets."""
        if self.flow_level >= MAX_DEPTH:
            raise _DepthError(self.get_mark().line + 1)
        super().fetch_flow_collection_start(TokenClass)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse deep nesting while reading: PyYAML's time grows with the square of the depth."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        levels = int(isinstance(event, yaml.CollectionStartEvent))
        self._depth += levels
        if self._depth > MAX_DEPTH:
            raise _DepthError(event.start_mark.line + 1)
        node = super().compose_node(parent, index)
        self._depth -= levels
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Construct a value; an impossible one (February 30, 5,000 digits) is an error with its line."""
        try:
            return super().construct_object(node, deep)
        except (yaml.YAMLError, RecursionError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever int(), date() or PyYAML's own code raises
            why = str(error)[:120]
            if "set_int_max_str_digits" in str(error):  # advice for programmers
                why = f"a number of {len(str(node.value))} digits is too long"
            raise yaml.constructor.ConstructorError(None, None, why, node.start_mark) from None


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


class Document:
    """The content of a YAML file.

    Attributes:
        name: Name of the file, for messages.
        tree: Its content: dict, list, str, int, float, bool, None (and dates, which no setting takes).
    """

    def __init__(self, name: str, text: str) -> None:
        """Parse ``text``.

        Args:
            name: Name of the file.
            text: Its content.

        Raises:
            ConfigError: it is not YAML, has a duplicate key, or is too large; the message names the line.
        """
        self.name = name
        try:
            loader = _Loader(text)
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise ConfigError(
                f"{name}:{line}: not valid YAML: it contains a control character (code {error.character}): delete it"
            ) from None
        try:
            self._root = loader.get_single_node()
            if self._root is not None:
                _check_size(name, self._root)
                _check_keys(name, self._root)
            self.tree: Any = None if self._root is None else loader.construct_document(self._root)
        except _DepthError as error:
            raise ConfigError(
                f"{name}:{error.line}: nested too deeply: settings have at most {MAX_DEPTH} levels"
            ) from None
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
        """Return the line of a setting, from 1; of the nearest group above it if the setting is not in the file."""
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
        ConfigError: it cannot be read, is larger than :data:`MAX_BYTES`, or is not UTF-8 or not YAML.
    """
    try:
        if path.is_dir():
            raise ConfigError(f"{path} is a folder: give the path of a YAML file")
        content = _read(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"{path} cannot be read ({reason}): give the path of a YAML file") from None
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_BYTES // 1024} KiB: this is not a configuration of streamseg")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None
    return Document(str(path), text)


def flow(value: Any) -> str:
    """Return a plain value as YAML on one line: ``{polygon: [[0, 0], [9, 0], [9, 9]]}``."""
    match value:
        case dict():
            return f"{{{', '.join(f'{flow(str(key))}: {flow(item)}' for key, item in value.items())}}}"
        case list() | tuple():
            return f"[{', '.join(map(flow, value))}]"
        case str():
            return value if _is_plain(value) else json.dumps(value, ensure_ascii=False)
        case bool() | None:
            return json.dumps(value)
        case _:
            return str(value)


def _is_plain(text: str) -> bool:
    """Whether YAML reads a text without quotes as that text, even inside brackets."""
    try:
        loader = _Loader(f"[{text}]")
        try:
            return bool(loader.get_single_data() == [text])
        finally:
            loader.dispose()
    except (yaml.YAMLError, RecursionError):
        return False


def _read(path: Path) -> bytes:
    """Return the first :data:`MAX_BYTES` and one more.

    Blocks: up to :data:`_MAX_WAIT_S` for a pipe (``run <(generate)``) or a device, but not forever: a reload runs in
    the supervisor.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor
        ready, deadline = select.poll(), time.monotonic() + _MAX_WAIT_S
        ready.register(descriptor, select.POLLIN)
        content = b""
        while len(content) <= MAX_BYTES and ready.poll(max(0.0, deadline - time.monotonic()) * 1000):
            part = file.read(MAX_BYTES + 1 - len(content))
            if not part:
                return content
            content += part
        if len(content) <= MAX_BYTES:
            raise ConfigError(f"{path}: its end did not come within {_MAX_WAIT_S:g} s: give the path of a YAML file")
        return content


def _check_size(name: str, root: yaml.Node) -> None:
    """Count values and levels, following each alias every time it is used, as later checks do."""
    count = 0
    waiting = [(root, 1)]
    while waiting:
        node, depth = waiting.pop()
        count += 1
        if count > MAX_VALUES:
            raise ConfigError(f"{name}: more than {MAX_VALUES} values with all aliases expanded")
        if depth > MAX_DEPTH:
            raise _DepthError(node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            waiting += [(child, depth + 1) for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(child, depth + 1) for child in node.value]


def _check_keys(name: str, root: yaml.Node) -> None:
    """Refuse duplicate keys; PyYAML silently takes the last one."""
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
                            f"{name}:{line}: duplicate key {key.value!r}, first on line {first[key.value]}: "
                            "remove one of them"
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
        return " (indent the lines of a group equally, and quote text that contains ': ')"
    if "undefined alias" in problem:
        return " (define it with & before its first use)"
    return ""

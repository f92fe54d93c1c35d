"""The documents: every relative link leads somewhere, and every command they name exists with its options.

Fast: nothing is started, no model is loaded. Commands are found in fenced blocks and in `inline code`.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from streamseg.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
SKIPPED = {".venv", "node_modules", "dist", "run"}
DOCUMENTS = sorted(path for path in ROOT.rglob("*.md") if not SKIPPED.intersection(path.relative_to(ROOT).parts))
COMMENTED_FILES = sorted((ROOT / "configs").glob("*.yaml")) + sorted((ROOT / "systemd").glob("*"))

FENCE = re.compile(r"^ *```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
SHELLS = {"bash", "sh", "console"}
PREFIX = r"(?:\$ )?(?:\w+=\S+ +)*(?:uv run )?"
COMMAND = re.compile(rf"^ *{PREFIX}(?:\S*/)?streamseg +(?P<rest>[a-z-].*)")
NOT_COMMANDS = {"clock"}  # `streamseg clock ` is hashed: docs/protocol.md
COMMENTED = re.compile(rf"(?:: +|# {{3}}|`|bin/){PREFIX}streamseg +(?P<rest>[a-z-].*)")
INLINE = re.compile(r"`(?P<code>[^`\n]+)`")


def without_code(text: str) -> str:
    """The prose of a document: links inside code are examples."""
    return INLINE.sub("", FENCE.sub("", text))


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *$", FENCE.sub("", text), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        number = next(n for n in range(len(found) + 1) if (f"{slug}-{n}" if n else slug) not in found)
        found.add(f"{slug}-{number}" if number else slug)
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_prose_has_no_stray_spaces(document: Path) -> None:
    lines = [line for line in FENCE.sub("", document.read_text()).splitlines() if not line.lstrip().startswith("|")]
    assert not [line for line in lines if re.search(r"\S {2,}\S", line.strip())]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    broken = []
    for link in LINK.finditer(without_code(document.read_text())):
        target = link["target"]
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path.read_text())):
            broken.append(target)
    assert broken == []


def commands(text: str) -> Iterator[str]:
    """What follows `streamseg` wherever a document shows a command: in shell blocks and in inline code."""
    shell = [block["body"].replace("\\\n", " ") for block in FENCE.finditer(text) if block["language"] in SHELLS]
    lines = [line for block in shell for line in block.splitlines()]
    lines += [code["code"] for code in INLINE.finditer(FENCE.sub("", text))]
    yield from _in_lines(lines, COMMAND)


def commands_in_comments(text: str) -> Iterator[str]:
    """The same in a configuration file or a unit: after a colon or an indent, in backticks, or with a path."""
    yield from _in_lines(text.splitlines(), COMMENTED)


def _in_lines(lines: Iterable[str], pattern: re.Pattern[str]) -> Iterator[str]:
    for line in lines:
        if found := pattern.search(line):
            yield re.split(r" +#|[|;<]|&&|`", found["rest"])[0].strip()


def unknown_part(line: str) -> str | None:
    """The first part of a command line that the program does not have; None if it has all of them."""
    command: Any = typer.main.get_command(app)
    words = shlex.split(line)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        name = words.pop(0)
        if name not in command.commands:
            return name
        command = command.commands[name]
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        if word.startswith("--") and word.partition("=")[0] not in options | {"--help"}:
            return word
    return None


@pytest.mark.parametrize("document", [*DOCUMENTS, *COMMENTED_FILES], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_exists_with_its_options(document: Path) -> None:
    find = commands if document.suffix == ".md" else commands_in_comments
    named = set(find(document.read_text())) - NOT_COMMANDS
    wrong = {line: part for line in named if (part := unknown_part(line)) is not None}
    assert wrong == {}


def test_commands_are_found_and_a_wrong_one_is_noticed() -> None:
    text = "```bash\nA=1 uv run streamseg run \\\n--source webcam:0  # live\n```\nand `streamseg models pull small`"
    assert list(commands(text)) == ["run  --source webcam:0", "models pull small"]
    assert [unknown_part(line) for line in commands(text)] == [None, None]
    assert unknown_part("models push small") == "push"
    assert unknown_part("run --sauce webcam:0") == "--sauce"


def said_by_the_program() -> set[str]:
    """Every text in the program's source, without the values that are filled in."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "streamseg").rglob("*.py")]
    texts = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    parts = {part.strip() for text in texts if isinstance(text, str) for part in re.split("%[.0-9]*[a-z]", text)}
    return {part for part in parts if len(part) >= 12}


def test_troubleshooting_quotes_messages_that_exist() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    quoted = re.findall(r"^\| `(?P<message>[^|]+)` \|", text, re.MULTILINE)
    said = said_by_the_program()
    assert len(quoted) >= 12
    names = {"FRAME_EXPIRED", "WORKER_RESTARTING"}
    gone = [
        message
        for message in quoted
        if not any(part in message or message in part for part in said) and message not in names
    ]
    assert gone == []

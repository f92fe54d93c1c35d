"""Keys in C++ and Node: right, missing, unknown, expired and revoked ones, against a publisher that asks for them."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.clients.conftest import ROOT, build
from tests.key_files import PAST, Keys
from tests.publish.publisher_children import PublisherProcess

PROGRAMS = ROOT / "streamseg" / "web" / "programs"
RECEIVE = """
import { Subscriber, loadKeys } from "./index.js";
const [endpoint, stream, file] = process.argv.slice(2);
try {
  const keys = file ? loadKeys(file) : null;
  const subscriber = new Subscriber(endpoint, { streams: [stream], keys });
  for await (const message of subscriber) console.log(message.stream, "frame", message.header.frame);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
"""
PROBLEM = """
#include <iostream>
#include "streamseg.hpp"
int main(int, char** argv) {
    streamseg::Subscriber subscriber(argv[1]);
    while (subscriber.problem().empty()) subscriber.receive(std::chrono::milliseconds(50));
    std::cout << subscriber.problem() << std::endl;
    while (!subscriber.problem().empty()) subscriber.receive(std::chrono::milliseconds(50));
    std::cout << "no problem" << std::endl;
}
"""
NODE_PROBLEM = """
import { Subscriber } from "./index.js";
const subscriber = new Subscriber(process.argv[2]);
const moment = () => new Promise((next) => setTimeout(next, 20));
const until = async (has) => { while (Boolean(subscriber.problem) !== has) await moment(); };
await until(true);
console.log(subscriber.problem);
await until(false);
console.log("no problem");
process.exit();
"""
REFUSED = {"missing": "asks for a key", "unknown": "refused the key", "expired": "refused the key"}


@pytest.fixture(scope="module")
def publisher(module_keys: Keys) -> Iterator[PublisherProcess]:
    """A publisher that asks for keys and sends a frame now and then."""
    keys = module_keys
    keys.authorize("right")
    keys.authorize("expired", expires=PAST)
    keys.make("unknown")
    endpoints = ("tcp://127.0.0.1:*",)
    with closing(PublisherProcess(keys.path, keys=keys.folder.path, endpoints=endpoints, require_key=True)) as running:
        ended = threading.Event()

        def track() -> None:
            while not ended.wait(0.1):
                running.track()

        thread = threading.Thread(target=track)
        thread.start()
        yield running
        ended.set()
        thread.join()


@pytest.fixture(scope="module")
def cpp(write_pgm: Path) -> Callable[..., list[str]]:
    return lambda endpoint, *key: [str(write_pgm), "/dev/null", endpoint, "cam1", *map(str, key)]


@pytest.fixture(scope="module")
def node(package: Path) -> Callable[..., list[str]]:
    (package / "receive.mjs").write_text(RECEIVE)
    return lambda endpoint, *key: ["node", str(package / "receive.mjs"), endpoint, "cam1", *map(str, key)]


def _program(request: pytest.FixtureRequest, language: str, text: str, folder: Path) -> list[str]:
    """The command of a program in C++ (``cpp``), or else in JavaScript."""
    if language == "cpp":
        source = folder / "program.cpp"
        source.write_text(text)
        return [str(build(source, folder))]
    source = request.getfixturevalue("package") / "program.mjs"
    source.write_text(text)
    return ["node", str(source)]


LANGUAGES = ["cpp", pytest.param("node", marks=pytest.mark.slow)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_authorized_key_receives(request, publisher, module_keys, language) -> None:
    command = request.getfixturevalue(language)(publisher.ready.text, module_keys.path / "right.key_secret")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline().startswith("cam1 frame ")
        finally:
            program.kill()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("key", REFUSED)
def test_other_keys_are_refused_with_the_reason(request, publisher, module_keys, language, key) -> None:
    file = [] if key == "missing" else [module_keys.path / f"{key}.key_secret"]
    command = request.getfixturevalue(language)(publisher.ready.text, *file)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        try:
            # Without a key the daemon may close before its greeting is read: then the client tries again and again.
            assert program.stderr is not None
            assert any(REFUSED[key] in line for line in program.stderr)
            assert key == "missing" or program.wait(30) == 1
        finally:
            program.kill()


@pytest.mark.parametrize("language", ["py", *(pytest.param(name, marks=pytest.mark.slow) for name in ("cpp", "mjs"))])
def test_the_page_s_program_receives_until_its_key_is_revoked(
    request, publisher, module_keys, language, tmp_path
) -> None:
    file = module_keys.authorize("robot")
    text = (PROGRAMS / f"subscriber.{language}").read_text().replace("NAME.key_secret", str(file))
    text = text.replace("tcp://127.0.0.1:5555", publisher.ready.text).replace('"cam"', '"cam1"')
    if language == "py":  # iteration waits for a camera without limit, and for a key to be authorized again
        command = [sys.executable, "-c", text.replace("timeout_s=30", "timeout_s=3")]
    else:
        command = _program(request, language, text.replace('"streamseg"', '"./index.js"'), tmp_path)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            assert re.match(r"\d+ 1 bar .*\d+$", program.stdout.readline())
            module_keys.folder.revoke("robot")
            assert "refused the key" in program.communicate(timeout=60)[1]
            assert program.returncode != 0
        finally:
            program.kill()


@pytest.mark.slow
@pytest.mark.parametrize("language", ["cpp", "node"])
def test_a_daemon_that_hangs_up_may_ask_for_a_key(request, language, tmp_path) -> None:
    """One that asks for a key often closes before its greeting is read. When it ends, nothing is known."""
    command = _program(request, language, PROBLEM if language == "cpp" else NODE_PROBLEM, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        endpoint = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with subprocess.Popen([*command, endpoint], stdout=subprocess.PIPE, text=True) as program:
            try:
                server.accept()[0].close()
                assert program.stdout is not None
                assert "perhaps it asks for a key" in program.stdout.readline()
                server.close()
                assert program.communicate(timeout=60)[0] == "no problem\n"
            finally:
                program.kill()

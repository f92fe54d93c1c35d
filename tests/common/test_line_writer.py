"""A log without a reader loses lines and never blocks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

FLOOD = """
import logging, os, signal, sys, time
from streamseg.config.schema import LogConfig
from streamseg.common.logs import setup_logging
setup_logging(LogConfig(format="json"), "test")
log = logging.getLogger("x")
signal.signal(signal.SIGUSR1, lambda *_: log.info("from a signal handler"))
began = time.monotonic()
for number in range(20_000):
    log.info("line %d " + "x" * 100, number)
    if number % 100 == 0:
        os.kill(os.getpid(), signal.SIGUSR1)
print(time.monotonic() - began, flush=True)
sys.stdin.read()
"""


def start() -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", FLOOD], stdin=pipe, stdout=pipe, stderr=pipe)


def test_lines_that_are_not_read_are_dropped_and_counted():
    process = start()
    assert process.stdin
    assert process.stdout
    assert process.stderr
    seconds = float(process.stdout.readline())  # it got through although its log is full
    assert seconds < 60
    os.set_blocking(process.stderr.fileno(), True)
    process.stdin.close()
    lines = [json.loads(line) for line in process.stderr.read().splitlines()]
    assert process.wait(30) == 0
    process.stdout.close()
    process.stderr.close()
    dropped = [int(line["message"].split()[0]) for line in lines if "lines of the log were dropped" in line["message"]]
    assert len(lines) - len(dropped) + sum(dropped) == 20_000 + 200
    assert sum(dropped) > 10_000
    assert all(line["process"] == "test" for line in lines)


def test_a_process_ends_although_its_log_is_full():
    process = start()
    assert process.stdin
    assert process.stdout
    assert process.stderr
    process.stdout.readline()
    began = time.monotonic()
    process.stdin.close()
    assert process.wait(30) == 0
    assert time.monotonic() - began < 10
    process.stdout.close()
    process.stderr.close()

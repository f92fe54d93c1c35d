import json
import os
import subprocess
import sys

import pytest

PASSWORD = "hunter2"

SCRIPT = """
import logging, sys, threading, warnings
from streamseg.config.schema import LogConfig
from streamseg.common.logs import setup_logging
setup_logging(LogConfig(level={level!r}, format={format!r}), "capture:cam1")
log = logging.getLogger("streamseg.capture")
{body}
"""


def logged(body, *, level="info", layout="text"):
    script = SCRIPT.format(body=body, level=level, format=layout)
    environment = {**os.environ, "TZ": "UTC", "PYTHONWARNINGS": "default"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environment)
    assert done.stdout == ""
    return done.stderr.splitlines()


def after_bar(line):
    return line.partition(" | ")[2]


def test_text_lines_have_head_message_and_fields():
    (line,) = logged("log.info('connected to %s', 'cam', extra={'fps': 25.0, 'codec': 'h264 high', 'empty': ''})")
    head, _, text = line.partition(" | ")
    assert text == 'connected to cam  fps=25.0  codec="h264 high"  empty=""'
    date, time, level, process = head.split()
    assert (len(date), len(time), level, process) == (10, 12, "INFO", "capture:cam1")


def test_json_lines_hold_message_and_fields():
    (line,) = logged("log.warning('lost %d', 3, extra={'stream': 'cam1', 'level': 'mine'})", layout="json")
    record = json.loads(line)
    assert record.pop("time").endswith("+00:00")
    assert record == {
        "level": "warning",
        "process": "capture:cam1",
        "logger": "streamseg.capture",
        "message": "lost 3",
        "stream": "cam1",
    }


@pytest.mark.parametrize(("level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_filters(level, count):
    assert len(logged("for each in (log.debug, log.info, log.warning, log.error): each('x')", level=level)) == count


LEAKS = """
url = "rtsp://admin:hunter2@cam/x"
class Shown:
    def __str__(self): return url
log.info(url)
log.info("open %s", url)
log.info("open %s", Shown())
log.info("open %(url)s", {"url": url})
log.info("x", extra={"source": url, "list": [url], "object": Shown()})
log.info(Shown())
log.info("too few %s %s", url)
log.info("x", stack_info=True)  # rtsp://admin:hunter2@cam/x
try:
    try:
        raise ValueError(url)
    except ValueError as error:
        raise RuntimeError("outer " + url) from error
except RuntimeError:
    log.exception("failed")
warnings.warn(url)
thread = threading.Thread(target=lambda: 1 / len(url[:0]) or url, name="t")  # rtsp://admin:hunter2@cam/x
thread.start(); thread.join()
raise SystemError(url)
"""


@pytest.mark.parametrize("layout", ["text", "json"])
def test_no_password_comes_through_whatever_the_caller_does(layout):
    text = "\n".join(logged(LEAKS, layout=layout))
    assert PASSWORD not in text
    assert text.count("***") >= 11
    assert "too few" in text
    assert "does not match its arguments" in text
    assert "uncaught SystemError" in text
    assert "uncaught ZeroDivisionError in thread t" in text
    assert "ValueError: rtsp://admin:***@cam/x" in text


def test_later_handlers_see_no_password_either():
    body = (
        "class Keep(logging.Handler):\n"
        "    def emit(self, record): sys.stderr.write(f'{record.getMessage()} {record.exc_info}\\n')\n"
        "logging.getLogger().addHandler(Keep())\n"
        "log.info('rtsp://admin:%s@cam', 'hunter2')"
    )
    assert "rtsp://admin:***@cam None" in logged(body)


def test_an_error_in_json_is_one_line():
    (line,) = logged("try: 1 / 0\nexcept ZeroDivisionError: log.exception('failed')", layout="json")
    record = json.loads(line)
    assert record["message"] == "failed"
    assert record["error"].startswith("Traceback (most recent call last):")
    assert record["error"].endswith("ZeroDivisionError: division by zero")


def test_a_text_line_is_one_line_and_holds_no_terminal_commands():
    lines = logged("log.info('a\\nb\\x1b[31m\\x9b2J\\r', extra={'f': 'x\\ny'})")
    assert [after_bar(line) for line in lines] == ["a\\nb\\x1b[31m\\x9b2J\\r  f=x\\ny"]


def test_values_that_cannot_be_shown_are_named():
    body = (
        "class Broken:\n    def __str__(self): raise ValueError('no')\n"
        "log.info('x', extra={'f': Broken(), 'n': float('nan')})\nlog.info('%s', Broken())"
    )
    lines = [json.loads(line) for line in logged(body, layout="json")]
    assert lines[0]["f"] == "(Broken that cannot be shown: ValueError)"
    assert lines[0]["n"] is None
    assert "does not match its arguments" in lines[1]["message"]


def test_warnings_are_logged():
    lines = logged("warnings.warn('old', DeprecationWarning)")
    assert "DeprecationWarning: old" in lines[0]
    assert " WARNING capture:cam1 | " in lines[0]


def test_setting_up_twice_replaces_the_first():
    body = "setup_logging(LogConfig(level='warning'), 'worker')\nlog.info('a')\nlog.warning('b')"
    (line,) = logged(body)
    assert " WARNING worker | b" in line


def test_texts_of_megabytes_are_cut_at_once():
    body = """
text = "y " + "rtsp://admin:hunter2" * 500_000 + "@cam/x"  # redacted before it is cut, it would be short
log.error(text, extra={"field": text})
try: raise IndexError(text)
except IndexError: log.exception("failed")"""
    lines = logged(body)
    assert PASSWORD not in "".join(lines)
    cut = "y ... (10000007 more characters)"
    assert after_bar(lines[0]).startswith(f'{cut}  field="{cut}')
    assert lines[-1].startswith(f"IndexError: {cut}")
    assert sum(map(len, lines)) < 200_000

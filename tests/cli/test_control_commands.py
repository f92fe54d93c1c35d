"""`streamseg prompt`, `stream` and `status` against a real daemon that they find by themselves."""

import json
import re
import signal
import subprocess

import cv2
import numpy as np
import pytest

from tests.cli.executable import CommandLine, read_until
from tests.e2e.daemon_process import wait_for
from tests.servers.live_servers import free_port

CONFIG = """
model: {name: fixed}
publish: {endpoints: ["ipc://FOLDER/pub"]}
streams:
  cam: {source: "scene:simple?size=320x180&fps=10"}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs commands beside a daemon of the same user."""
    folder = tmp_path_factory.mktemp("daemon")
    (folder / "config.yaml").write_text(CONFIG.replace("FOLDER", str(folder)))
    runner = CommandLine(folder, {"XDG_RUNTIME_DIR": str(folder)})
    daemon = runner.start("run", "config.yaml", stderr=subprocess.PIPE)
    try:
        read_until(daemon, daemon.stderr, "ready: masks at")
        yield runner
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate(timeout=30)


def fine(done):
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_prompts_are_added_listed_corrected_and_removed(run):
    text = fine(run.apart("prompt", "add", "cam", "--box", "10,20,40,60", "--label", "cup"))
    assert re.fullmatch(
        r"object 1 is tracked from frame \d+: 1200 pixels in 30x40 at 10,20, score 1\.00\n"
        r"marked in pixels of 320x180: box 10,20,40,60\n",
        text,
    )
    text = fine(run("prompt", "add", "cam", "--object", 1, "--point", "50%,50%", "--point", "25%,25%,0"))
    assert text.startswith("object 1 was corrected on frame ")
    assert text.endswith("marked in pixels of 320x180: point 160,90, point 80,45 (not on it)\n")
    text = fine(run("prompt", "add", "cam", "--point", "20,30", "--preview"))
    assert text.startswith("a new object would be on frame ")
    lines = fine(run("prompt", "list")).splitlines()
    assert lines[0].split() == ["STREAM", "ID", "STATE", "SCORE", "PROMPTS", "BOX", "LABEL"]
    assert lines[1].split()[:5] == ["cam", "1", "tracked", "1.00", "2"]
    assert lines[1].endswith("cup")
    assert len(lines) == 2
    picture = np.zeros((180, 320), np.uint8)
    picture[10:20, 10:20] = 255
    cv2.imwrite(str(run.folder / "mask.png"), picture)
    added = json.loads(fine(run("prompt", "add", "cam", "--mask", "mask.png", "--json")))
    assert (added["object_id"], added["area"], added["bbox"]) == (2, 100, [10, 10, 10, 10])
    fine(run("prompt", "remove", "cam", 1))
    (listed,) = json.loads(fine(run("prompt", "list", "cam", "--json")))
    assert [obj["id"] for obj in listed["objects"]] == [2]
    fine(run("prompt", "reset", "cam"))
    assert fine(run("prompt", "list")) == "no objects\n"


def test_an_object_is_renamed_and_its_last_prompt_taken_back(run):
    fine(run("prompt", "add", "cam", "--box", "10,20,40,60"))
    (listed,) = json.loads(fine(run("prompt", "list", "cam", "--json")))
    number = listed["objects"][-1]["id"]
    assert fine(run("prompt", "label", "cam", number, "cup")) == f"object {number} of cam is now called 'cup'\n"
    fine(run("prompt", "add", "cam", "--object", number, "--point", "0.5,0.5", "--coords", "normalized"))
    assert fine(run("prompt", "undo", "cam", number)).startswith("undid the last prompt")
    (listed,) = json.loads(fine(run("prompt", "list", "cam", "--json")))
    (kept,) = (obj for obj in listed["objects"] if obj["id"] == number)
    assert (kept["label"], kept["prompts"]) == ("cup", 1)
    assert "which removed it" in fine(run("prompt", "undo", "cam", number))
    fine(run("stream", "reset", "cam"))


def test_the_last_change_of_a_stream_is_taken_back(run):
    fine(run("prompt", "add", "cam", "--box", "10,20,40,60"))
    (listed,) = json.loads(fine(run("prompt", "list", "cam", "--json")))
    number = listed["objects"][-1]["id"]
    fine(run("prompt", "remove", "cam", number))
    text = fine(run("prompt", "undo", "cam"))
    assert re.fullmatch(rf"undid the removal of an object of cam \(objects: {number}\); \d more can be undone\n", text)
    assert f'"id":{number}' in fine(run("prompt", "list", "cam", "--json")).replace(" ", "")
    text = fine(run("prompt", "undo", "cam"))
    assert text.startswith(f"undid a prompt of cam (objects: {number})")
    assert fine(run("prompt", "list", "cam")) == "no objects\n"


def test_a_stream_is_paused_and_resumed(run):
    fine(run("stream", "pause", "cam"))
    assert "paused" in fine(run("stream", "list"))
    fine(run("stream", "resume", "cam"))
    assert "paused" not in fine(run("stream", "list"))
    assert fine(run("reload")) == "no stream changed\n"
    assert json.loads(fine(run("reload", "--json")))["unchanged"] == ["cam"]


def test_status_check_fails_while_a_stream_has_no_masks(run):
    fine(run("status", "--check"))
    fine(run("stream", "add", "gone", f"rtsp://127.0.0.1:{free_port()}/x"))
    done = run.apart("status", "--check")
    assert done.returncode == 1
    assert done.stderr == "no masks from: gone\n"
    fine(run("stream", "remove", "gone"))


def test_streams_are_added_listed_and_removed(run):
    (run.folder / "film").mkdir()
    cv2.imwrite(str(run.folder / "film" / "0.png"), np.zeros((64, 96, 3), np.uint8))
    fine(run("stream", "add", "film", "film", "--loop"))  # relative to the folder in which the command runs
    fine(run("stream", "add", "door", "scene:simple"))
    lines = fine(run.apart("stream", "list")).splitlines()
    assert lines[0].split() == ["STREAM", "STATE", "SIZE", "FPS", "OBJECTS", "SOURCE"]
    assert [line.split()[0] for line in lines[1:]] == ["cam", "film", "door"]
    assert "streaming" in lines[1]
    assert str(run.folder / "film") in fine(run("stream", "list", "--json")) + fine(run("prompt", "list", "--json"))
    assert fine(run("stream", "remove", "film")) == "film is closed\n"
    fine(run("stream", "remove", "door"))


def test_a_stream_s_address_takes_its_password_from_the_environment(run, monkeypatch):
    monkeypatch.setenv("SCENE", "simple")
    fine(run("stream", "add", "scene", "scene:${SCENE}"))
    assert "scene:simple" in fine(run("stream", "list"))
    fine(run("stream", "remove", "scene"))


def test_status_shows_daemon_and_streams(run):
    # The control process hears of the daemon and its streams once a second.
    wait_for(lambda: re.search(r"control ready(?s:.*): streaming", fine(run("status"))), 60, "a status with everything")
    text = fine(run.apart("status"))
    assert re.search(r"fixed on cpu, up \d+ s; .*control ready", text)
    assert re.search(r"^cam: streaming; 320x180; .* frames/s in", text, re.MULTILINE)
    answer = json.loads(fine(run("status", "--json")))
    assert answer["daemon"]["model"] == "fixed"
    assert answer["streams"][0]["stream"] == "cam"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("prompt", "add", "cam"), 2, "nothing to track: use --point"),
        (("prompt", "add", "cam", "--point", "x"), 2, "write X,Y"),
        (("prompt", "add", "cam9", "--point", "1,1"), 1, "there is no stream 'cam9'; streams: cam"),
        (("prompt", "add", "cam", "--point", "999,1"), 1, "is outside the frame, which is 320x180"),
        (("prompt", "add", "cam", "--point", "0.5,0.5"), 1, "use --coords normalized"),
        (("prompt", "add", "cam", "--mask", "none.png"), 1, "cannot be read"),
        (("prompt", "remove", "cam", 99), 1, "has no object 99"),
        (("prompt", "reset", "cam9"), 1, "there is no stream"),
        (("stream", "add", "cam", "scene:simple"), 1, "stream 'cam' exists already"),
        (("stream", "add", "X", "scene:simple"), 2, "is not a valid stream id"),
        (("stream", "add", "x", "ftp://y"), 2, "streams.x.source"),
        (("stream", "add", "x", "http://a:${NO_SUCH_NAME}@b/c"), 2, "the environment variable NO_SUCH_NAME is not set"),
        (("stream", "remove", "cam9"), 1, "there is no stream"),
        (("status", "--control", "ipc:///nowhere/x"), 1, "no daemon listens at ipc:///nowhere/x"),
        (("status", "--control", "nonsense"), 2, "write tcp://HOST:PORT or ipc:///PATH"),
    ],
)
def test_errors_are_reported_with_an_exit_code(run, arguments, code, words):
    done = run(*arguments)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_prompt_for_a_frame_that_is_not_held_is_refused(run):
    preview = ("prompt", "add", "cam", "--point", "1,1", "--frame", 0, "--preview")
    wait_for(lambda: run(*preview).returncode, 60, "frame 0 is no longer held")
    done = run(*preview)
    assert done.returncode == 1
    assert done.stderr.startswith("error: frame 0 of stream 'cam' is not held: frames ")


def test_reload_reports_a_restart_for_a_changed_model(run):  # the last one: the worker is being replaced
    config = run.folder / "config.yaml"
    config.write_text(config.read_text().replace("{name: fixed}", "{name: fixed, max_objects: 9}"))
    assert fine(run.apart("reload")) == (
        "the worker restarts with model.max_objects: objects go on from their last masks\n"
    )

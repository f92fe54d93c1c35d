"""Control of a daemon whose processes die or hang over a request."""

from __future__ import annotations

import contextlib
import threading

from streamseg.client import ControlError, Controller, Subscriber
from streamseg.client.results import EventMessage
from tests.e2e.control_calls import FILE_LIKE, SIMPLE, controller, first_frame, refused
from tests.e2e.daemon_process import wait_for


def test_prompts_and_pauses_survive_a_worker_that_dies_over_a_command(daemon):
    prompts = [{"object": 1, "box": [10, 20, 40, 60]}, {"object": 2, "box": [50, 20, 80, 60]}]
    running = daemon(
        {
            "model": {"name": "fixed"},
            # The worker may die before the newest prompts are in a snapshot: then they are applied again.
            "streams": {
                "cam": {"source": SIMPLE, "prompts": prompts, "on_discontinuity": "reprompt"},
                "other": {"source": SIMPLE},
            },
        }
    )
    with controller(running) as control:
        first_frame(control)
        control.remove_object("cam", 1)
        control.add_prompt("cam", points=[(0.5, 0.5)], label="cup")
        control.add_prompt("cam", object_id=3, points=[(0.7, 0.7)])
        control.pause("other")
        worker = running.child("worker")
        worker.suspend()
        errors: list[ControlError] = []

        def click() -> None:
            with Controller(running.control) as another:
                errors.append(refused("WORKER_RESTARTING", lambda: another.add_prompt("cam", points=[(0.1, 0.1)])))

        thread = threading.Thread(target=click)
        thread.start()
        wait_for(lambda: control.hello(), 5, "an answer that needs no worker")
        worker.kill()
        thread.join(timeout=15)
        assert [error.retryable for error in errors] == [True]

        def objects() -> list[tuple[int, str, int]]:
            with contextlib.suppress(ControlError):  # until the new worker is there
                return [(obj.id, obj.label, obj.prompts) for obj in control.list("cam")[0].objects if obj.area]
            return []

        wait_for(lambda: objects() == [(2, "", 1), (3, "cup", 2)], 60, "the objects in the new worker")
        assert control.list("other")[0].paused
        assert control.add_prompt("cam", points=[(0.1, 0.1)]).object_id == 4  # the failed one left nothing behind
    assert running.end() == 0


def test_a_request_to_a_frozen_worker_ends_when_that_is_replaced(daemon):
    running = daemon({"model": {"name": "fixed"}, "streams": {"cam": {"source": SIMPLE}}})
    with controller(running) as control:
        first_frame(control)
        running.child("worker").suspend()
        error = refused("WORKER_RESTARTING", lambda: control.add_prompt("cam", points=[(0.5, 0.5)]))
        assert error.retryable
        assert control.get_status().daemon is not None

        def clicked() -> bool:
            with contextlib.suppress(ControlError):  # until the next worker is there
                return control.add_prompt("cam", points=[(0.5, 0.5)]).area > 0
            return False

        wait_for(clicked, 60, "the next worker")
        assert len(control.list("cam")[0].objects) == 1
    assert running.end() == 0


def test_a_control_process_that_is_killed_is_replaced_at_the_same_address(daemon):
    running = daemon({"model": {"name": "fixed"}, "streams": {"cam": {"source": FILE_LIKE}}})
    with (
        controller(running) as control,
        Subscriber(running.endpoint, kinds=("objects", "events"), mode="all") as subscriber,
    ):
        first_frame(control)
        process = running.child("control")
        clicked: list[int] = []

        def click() -> None:
            with Controller(running.control) as another:
                clicked.append(another.add_prompt("cam", points=[(0.5, 0.5)]).object_id)

        # The click reaches the worker and its reply is lost: the client sends it again, and it is executed once.
        worker = running.child("worker")
        worker.suspend()
        thread = threading.Thread(target=click)
        thread.start()
        running.wait_log("add_prompt cam: sent to the worker")
        process.kill()
        worker.resume()
        event = next(m for m in subscriber if isinstance(m, EventMessage) and m.event == "control_restarted")
        assert "SIGKILL" in event.detail
        assert control.list("cam")[0].frame is not None  # sent again until the new one answers
        thread.join(timeout=30)
        assert clicked == [1]
        assert [obj.id for obj in control.list("cam")[0].objects] == [1]
        frames = [next(m for m in subscriber if m.kind == "objects") for _ in range(30)]
        assert sum(message.gap + message.skipped for message in frames) == 0
    assert running.end() == 0


def test_a_missing_daemon_is_reported(tmp_path):
    with Controller(f"ipc://{tmp_path}/none", connect_timeout_s=0.2) as control:
        error = refused("UNREACHABLE", control.hello)
        assert error.retryable
        assert "is `streamseg run` running there" in error.message

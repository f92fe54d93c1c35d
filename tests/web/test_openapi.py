"""The API keeps what its description promises, whatever is sent, without disturbing a stream."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.web.live_client import LiveClient

MAY_SAY_NOT_NOW = ("/snapshot.jpg", "/readyz")
ENDLESS = "/stream.mjpg"


def operations(url):
    import schemathesis  # 0.5 s, which every process of the test run would spend

    schema = schemathesis.openapi.from_url(f"{url}openapi.json")
    for result in schema.get_all_operations():
        operation = result.ok()
        removes = operation.path.endswith("{stream}") and operation.method.upper() == "DELETE"
        if not removes and not operation.path.endswith(ENDLESS):
            yield operation


@pytest.mark.parametrize("examples", [6, pytest.param(60, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", ["positive", "negative"])
def test_no_promise_is_broken(web, name, examples):
    from schemathesis.generation import GenerationMode

    mode = GenerationMode(name)
    before = web.json("GET", "/v1/streams")
    # No pings: their thread draws random numbers, which Hypothesis takes for a strategy that does.
    with LiveClient(web.url, ping_interval=None) as client:
        client.watch("cam")
        frame = client.next_frame()
        client.acknowledge(frame)
        for operation in operations(web.url):
            if mode is GenerationMode.POSITIVE or "{" in operation.path:  # the others cannot be invalid
                try_out(operation, mode, examples)
        assert client.next_frame().header["stream"] in ("cam", "yard")
    after = web.json("GET", "/v1/streams")
    assert after["daemon"]["session"] == before["daemon"]["session"]
    assert after["daemon"]["restarts"] == before["daemon"]["restarts"]
    assert after["streams"][0]["tracked"] > before["streams"][0]["tracked"]


def try_out(operation, mode, examples):
    """Send what the description allows, or what it does not."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks as promises

    checks = [
        promises.content_type_conformance,
        promises.response_schema_conformance,
        promises.status_code_conformance,
    ]
    if not operation.path.endswith(MAY_SAY_NOT_NOW):
        checks.append(not_a_server_error)

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case):
        # Mostly to an existing stream; some cases keep their generated ids.
        if "stream" in (case.path_parameters or {}) and hash(str(case.path_parameters["stream"])) % 3:
            case.path_parameters["stream"] = "cam"
        case.call_and_validate(checks=checks, timeout=30)

    send()

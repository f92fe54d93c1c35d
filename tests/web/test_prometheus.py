"""The dashboard for Grafana and the expressions of the documents, evaluated by a real Prometheus on a real daemon."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.daemon_process import wait_for
from tests.web.prometheus import Prometheus, program
from tests.web.test_operation import PAGE, expressions
from tests.web.web_daemon import WebDaemon

DASHBOARD = Path(__file__).parents[2] / "clients/grafana/streamseg.json"
HOWTO = Path(__file__).parents[2] / "docs/howto/metrics.md"
VARIABLES = {"$__rate_interval": "10s", "$instance": ".*", "$stream": ".*"}
WHOLE = {"polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "coords": "normalized"}
LINE = {"start": [0.5, 0], "end": [0.5, 1], "coords": "normalized"}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def queries() -> list[str]:
    """Each query of the dashboard, with values of its variables."""
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    for name, value in VARIABLES.items():
        found = [query.replace(name, value) for query in found]
    assert not [query for query in found if "$" in query]
    return found


@pytest.fixture
def watched(own: WebDaemon) -> Iterator[WebDaemon]:
    """A daemon with everything that has metrics: an object, a zone, a line, a search."""
    own.json("PATCH", "/v1/streams/cam/settings", {"zones": {"door": WHOLE}, "lines": {"gate": LINE}})
    own.json("POST", "/v1/streams/cam/find", {"enabled": True})
    own.json("POST", "/v1/streams/cam/prompts", {"points": [[0.5, 0.5]]})
    yield own
    own.json("POST", "/v1/streams/cam/find", {"enabled": False})
    own.json("POST", "/v1/streams/cam/reset")


def test_each_query_has_a_result(watched: WebDaemon, tmp_path: Path) -> None:
    wanted = ("streamseg_zone_objects{", "streamseg_find_looks_total{", "streamseg_line_crossed_total{")
    metrics = ""

    def read() -> str:
        nonlocal metrics
        metrics = watched.ask("GET", "/metrics")[2].decode()
        return metrics

    wait_for(lambda: all(name in read() for name in wanted), 30, "metrics of a zone, a line and a search")
    server = Prometheus(tmp_path, urlsplit(watched.url).netloc)
    try:
        for query in queries():
            names = re.findall(r"streamseg_\w+", query)
            # What nothing was lost of has no series.
            result = server.ask(query)
            assert result or "streamseg_drops_total" in names, query
        for expression in expressions():
            server.ask(expression)  # most are true while something is wrong
    finally:
        server.close()


def test_all_metrics_for_people_are_on_the_dashboard(watched: WebDaemon) -> None:
    families = set(re.findall(r"^# TYPE (streamseg_\w+)", watched.ask("GET", "/metrics")[2].decode(), re.MULTILINE))
    shown = set(re.findall(r"streamseg_\w+?(?=_bucket|_sum|_count|\{)", " ".join(queries())))
    details = {
        "streamseg_frames_in_per_second",
        "streamseg_frames_out_per_second",
        "streamseg_find_looks_total",
        "streamseg_find_longest_delay_seconds",
        "streamseg_log_lines_dropped_total",
        "streamseg_recompiles_total",
        "streamseg_recording",
        "streamseg_input_reduced",
    }
    assert families - shown - details == set()


def test_panels_have_ids_titles_and_places_of_their_own() -> None:
    found = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in found}) == len(found)
    taken: set[tuple[int, int]] = set()
    for panel in found:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert panel["title"]
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_documented_files_are_valid(tmp_path: Path) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE + HOWTO.read_text(), re.MULTILINE | re.DOTALL)
    (rules,) = [block for block in blocks if "groups:" in block]
    (config,) = [block for block in blocks if "scrape_configs:" in block]
    for kind, text in (("rules", rules), ("config", config)):
        file = tmp_path / f"{kind}.yml"
        file.write_text(text)
        done = subprocess.run(
            [program("promtool"), "check", kind, str(file)], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr

"""Settings in a short or another form: nothing is guessed, and the message shows the form that is accepted."""

import re

import msgspec
import pytest

from streamseg.config.load import config_from_mapping, stream_from_mapping
from streamseg.config.schema import Config
from streamseg.config.validate import settings
from streamseg.config.yaml import Document, flow
from streamseg.errors import ConfigError

CAM = "streams: {cam: {source: 'webcam:0', %s}}"
OBJECT = CAM % "prompts: [{object: 1, %s}]"
EMPTY = "streams: {}\n"
CORNERS = "[[0, 0], [9, 0], [9, 9]]"
CASES = [
    ("streams: webcam:3", "streams: {cam: {source: webcam:3}}"),
    ("streams: [webcam:3]", "streams: {cam: {source: webcam:3}}"),
    ("streams: [webcam:3, webcam:4]", "streams: {cam1: {source: webcam:3}, cam2: {source: webcam:4}}"),
    ("streams: {source: 'webcam:3', pace: fast}", "streams: {cam: {source: webcam:3, pace: fast}}"),
    ("streams: [{name: door, source: 'webcam:3'}]", "streams: {door: {source: webcam:3}}"),
    ("streams: [{door: {source: 'webcam:3'}}]", "streams: {door: {source: webcam:3}}"),
    ("streams: 2", "streams: {cam: {source: webcam:2}}"),
    ("streams: {door: 2}", "door: {source: webcam:2}"),
    ("streams: {door: [webcam:2]}", "door: {source: webcam:2}"),
    ("streams: {door: {source: 2}}", "source: webcam:2"),
    ("streams: {door: {source: [webcam:2]}}", "source: webcam:2"),
    (EMPTY + "http: 8081", "http: {listen: 127.0.0.1:8081}"),
    (EMPTY + "http: http://127.0.0.1:8081/", "http: {listen: 127.0.0.1:8081}"),
    (EMPTY + "http: true", "http: {listen: 127.0.0.1:8080}"),
    (EMPTY + "http: {listen: ['127.0.0.1:80']}", "listen: 127.0.0.1:80"),
    (EMPTY + "http: {hosts: 'a.example, b.example'}", "hosts: [a.example, b.example]"),
    (EMPTY + "http: {max_clients: 4 }\npublish: tcp://127.0.0.1:5599", "publish: {endpoints: [tcp://127.0.0.1:5599]}"),
    (EMPTY + "publish: 5599", "publish: {endpoints: [tcp://127.0.0.1:5599]}"),
    (EMPTY + "publish: ['tcp://127.0.0.1:1', /tmp/x]", "{endpoints: [tcp://127.0.0.1:1, ipc:///tmp/x]}"),
    (EMPTY + "publish: {endpoints: ['127.0.0.1:5599']}", "tcp://127.0.0.1:5599"),
    (EMPTY + "publish: {endpoints: [5599, 5600]}", "endpoints: [tcp://127.0.0.1:5599, tcp://127.0.0.1:5600]"),
    (EMPTY + "publish: {jpeg_quality: 80%}", "jpeg_quality: 80"),
    (EMPTY + "publish: {encoding: RLE}", "encoding: coco_rle"),
    (EMPTY + "publish: {wait_for_subscriber: yes}", "wait_for_subscriber: true"),
    (EMPTY + "control: 5556", "control: {endpoint: tcp://127.0.0.1:5556}"),
    (EMPTY + "control: ipc:///tmp/control", "control: {endpoint: ipc:///tmp/control}"),
    (EMPTY + "control: {endpoint: ['ipc:///tmp/control']}", "endpoint: ipc:///tmp/control"),
    (EMPTY + "state: off", "state: {keep: false}"),
    (EMPTY + "state: /var/lib/cameras", "state: {path: /var/lib/cameras}"),
    (EMPTY + "state: {every_s: 7 s, max_age_s: 2h}", "every_s: 7"),
    (EMPTY + "state: {max_age_s: 2h}", "max_age_s: 7200"),
    (EMPTY + "log: debug", "log: {level: debug}"),
    (EMPTY + "log: json", "log: {format: json}"),
    (EMPTY + "log: {level: WARN}", "level: warning"),
    (EMPTY + "model: small", "model: {name: small}"),
    (EMPTY + "model: [small]", "model: {name: small}"),
    (EMPTY + "model: {device: 1}", "device: cuda:1"),
    (EMPTY + "model: {device: GPU}", "device: cuda"),
    (EMPTY + "model: {image_size: 384x384}", "image_size: 384"),
    (EMPTY + "model: {image_size: [384, 384]}", "image_size: 384"),
    (EMPTY + "model: {compile: true}", "compile: on"),
    (EMPTY + "model: {dtype: fp16}", "dtype: float16"),
    (EMPTY + "model: {max_objects: 8.0}", "max_objects: 8"),
    (CAM % "open_timeout_s: 500ms", "open_timeout_s: 0.5"),
    (CAM % "pace: Fast", "pace: fast"),
    (CAM % "deinterlace: false", "deinterlace: off"),
    (CAM % "transport: [udp]", "transport: udp"),
    (CAM % "decoder: gpu", "decoder: cuda"),
    (CAM % "overlap: exclusiv", "overlap: exclusive"),
    (CAM % "uncertain_below: 25%", "uncertain_below: 0.25"),
    (CAM % "video_stream: '1'", "video_stream: 1"),
    (CAM % "loop: no", "loop: false"),
    (CAM % "prompts: [32, 24]", "prompts: [{object: 1, points: [[32, 24]]}]"),
    (CAM % "prompts: '32,24'", "prompts: [{object: 1, points: [[32, 24]]}]"),
    (CAM % "prompts: [10, 8, 42, 40]", "prompts: [{object: 1, box: [10, 8, 42, 40]}]"),
    (CAM % "prompts: [[10, 8, 42, 40], [1, 2, 3, 4]]", "{object: 1, box: [10, 8, 42, 40]}, {object: 2, box: [1, 2, 3"),
    (CAM % "prompts: {object: 7, box: [1, 2, 3, 4]}", "prompts: [{object: 7, box: [1, 2, 3, 4]}]"),
    (CAM % "prompts: {7: {box: [1, 2, 3, 4]}}", "prompts: [{object: 7, box: [1, 2, 3, 4]}]"),
    (CAM % "prompts: {cup: {box: [1, 2, 3, 4]}}", "prompts: [{object: 1, box: [1, 2, 3, 4], label: cup}]"),
    (OBJECT % "box: [[1, 2, 3, 4]]", "box: [1, 2, 3, 4]"),
    (OBJECT % "box: [[1, 2], [3, 4]]", "box: [1, 2, 3, 4]"),
    (OBJECT % "box: '1, 2, 3, 4'", "box: [1, 2, 3, 4]"),
    (OBJECT % "box: {x: 1, y: 2, w: 3, h: 4}", "box: [1, 2, 4, 6]"),
    (OBJECT % "box: {x0: 1, y0: 2, x1: 3, y1: 4}", "box: [1, 2, 3, 4]"),
    (OBJECT % "points: 32 24", "points: [[32, 24]]"),
    (OBJECT % "points: ['32,24']", "points: [[32, 24]]"),
    (OBJECT % "points: [32, 24, 1, 40, 30, 0]", "points: [[32, 24, 1], [40, 30, 0]]"),
    (OBJECT % "points: [32, 24, 40, 30]", "points: [[32, 24], [40, 30]]"),
    (OBJECT % "points: {x: 32, y: 24}", "points: [[32, 24]]"),
    (OBJECT % "points: [{x: 32, y: 24, label: 0}, [5, 5]]", "[32, 24, 0]"),
    (OBJECT % "points: [[[32, 24]]]", "points: [[32, 24]]"),
    (OBJECT % "box: [1, 2, 3, 4], coords: px", "coords: pixels"),
    (OBJECT % "box: [1, 2, 3, 4], label: 5", 'label: "5"'),
    (OBJECT % "box: [1, 2, 3, 4], label: 2026-01-31", 'label: "2026-01-31"'),
    ("streams: {cam: {source: 'webcam:0', prompts: [{object: '3', box: [1, 2, 3, 4]}]}}", "object: 3"),
    (CAM % f"zones: {{door: {CORNERS}}}", f"door: {{polygon: {CORNERS}}}"),
    (CAM % "zones: {door: '0,0 9,0 9,9'}", f"door: {{polygon: {CORNERS}}}"),
    (CAM % f"zones: {CORNERS}", f"zones: {{zone: {{polygon: {CORNERS}}}}}"),
    (CAM % f"zones: [{CORNERS}, {CORNERS}]", f"{{zone1: {{polygon: {CORNERS}}}, zone2: {{polygon: {CORNERS}}}}}"),
    (CAM % f"zones: [{{name: door, polygon: {CORNERS}}}]", f"zones: {{door: {{polygon: {CORNERS}}}}}"),
    (CAM % f"zones: {{polygon: {CORNERS}}}", f"zones: {{zone: {{polygon: {CORNERS}}}}}"),
    (CAM % "zones: {door: {polygon: [0, 0, 9, 0, 9, 9]}}", f"polygon: {CORNERS}"),
    (CAM % f"zones: {{door: {{polygon: {CORNERS}, share: 50%}}}}", "share: 0.5"),
    (CAM % "lines: {gate: [[0, 0], [9, 9]]}", "gate: {start: [0, 0], end: [9, 9]}"),
    (CAM % "lines: {gate: [0, 0, 9, 9]}", "gate: {start: [0, 0], end: [9, 9]}"),
    (CAM % "lines: [[0, 0], [9, 9]]", "lines: {line: {start: [0, 0], end: [9, 9]}}"),
    (CAM % "lines: {start: [0, 0], end: [9, 9]}", "lines: {line: {start: [0, 0], end: [9, 9]}}"),
    (CAM % "lines: {gate: {start: '0,0', end: [9, 9]}}", "start: [0, 0]"),
    (CAM % "lines: {gate: {start: [0, 0], end: {x: 9, y: 9}}}", "end: [9, 9]"),
]


def problems_of(text):
    """Path -> message of each problem of a file."""
    try:
        config_from_mapping(Document("x.yaml", text).tree)
    except ConfigError as error:
        return dict(re.findall(r"^  (\S+): (.*)$", str(error), re.MULTILINE))
    return {}


def at(tree, path):
    """The group or list that holds a setting, and its key there."""
    *above, last = [int(step) if step.isdigit() else step for step in re.split(r"[.\[\]]+", path.rstrip("]"))]
    for step in above:
        tree = tree[step]
    return tree, last


@pytest.mark.parametrize(("text", "form"), CASES)
def test_the_message_shows_a_form_that_is_accepted(text, form):
    path, message = next(iter(problems_of(text).items()))
    shown = message.partition(": write ")[2]
    assert form in shown
    tree = Document("x.yaml", text).tree
    group, key = at(tree, path)
    group[key] = Document("x.yaml", shown).tree if isinstance(key, int) else Document("x.yaml", shown).tree[key]
    assert path not in problems_of(flow(tree))


@pytest.mark.parametrize(
    "path", ["streams", "http", "publish", "publish.endpoints", "http.hosts", "control", "model", "log"]
)
def test_a_value_without_a_hint_gets_an_example(path):
    tree = {"streams": {}}
    group, key = at({"http": tree.setdefault("http", {}), "publish": tree.setdefault("publish", {})}, path)
    (group if "." in path else tree)[key] = 1.5
    assert f", for example {key}: " in problems_of(flow(tree))[path]


def test_every_group_and_list_has_an_example_of_its_type():
    for path, field in settings(Config):
        info = msgspec.inspect.type_info(field.type)
        assert isinstance(info, msgspec.inspect.Metadata), path
        for example in info.extra_json_schema.get("examples", ()):
            msgspec.convert(example, field.type)
        compound = (msgspec.inspect.VarTupleType, msgspec.inspect.TupleType, msgspec.inspect.DictType)
        if isinstance(info.type, (*compound, msgspec.inspect.StructType)):
            assert info.extra_json_schema.get("examples"), path


def test_a_missing_setting_gets_an_example():
    found = problems_of(CAM % "lines: {gate: {from: [0, 0], to: [9, 9]}}")
    assert (
        found["streams.cam.lines.gate.start"] == "is missing: expected a list of 2 numbers, for example start: [0, 240]"
    )


def test_the_form_of_a_secret_is_not_shown(monkeypatch):
    monkeypatch.setenv("CAM_PASSWORD", "geheim-1")
    for text in (
        "streams: {cam: 'rtsp://u:${CAM_PASSWORD}@h/1'}",
        "streams: ['rtsp://u:${CAM_PASSWORD}@h/1', 'rtsp://u:geheim-2@h/1']",
        EMPTY + "http: {token: ['${CAM_PASSWORD}']}",
        EMPTY + "http: {token: 1234567890123456}",
        EMPTY + "http: [{token: geheim-3-geheim-3}]",
    ):
        message = " ".join(problems_of(text).values())
        assert "write" in message
        assert "geheim" not in message
        assert "1234567890123456" not in message


def test_a_long_form_is_abridged():
    polygon = [coordinate for n in range(60) for coordinate in (1000 + n, 2000 + n)]
    message = problems_of(CAM % f"zones: {{door: {polygon}}}")["streams.cam.zones.door"]
    assert message.endswith("write door: {polygon: [[1000, 2000], [1001, 2001], [1002, 2002], ...]}")


def test_hundreds_of_problems_and_deep_nesting_take_no_time():
    many = "{" + ", ".join(f"z{n}: {CORNERS}" for n in range(600)) + "}"
    assert len(problems_of(EMPTY + f"x: {many}")) == 1
    deep = [1]
    for _ in range(500):
        deep = [deep]
    with pytest.raises(ConfigError, match=r"points.*is invalid"):
        stream_from_mapping("cam", {"source": "webcam:0", "prompts": [{"object": 1, "points": deep}]}, max_objects=1)


@pytest.mark.parametrize(
    ("listen", "form"),
    [
        ("http://127.0.0.1:8090/", "127.0.0.1:8090"),
        ("https://localhost:8090/page", "localhost:8090"),
        ("a/b", "127.0."),
    ],
)
def test_an_address_of_a_browser_is_not_an_address_to_listen_on(listen, form):
    assert f"write listen: {form}" in problems_of(EMPTY + f"http: {{listen: '{listen}'}}")["http.listen"]


@pytest.mark.parametrize(
    "value", ["a: b", "- x", "***", "[1", "yes", "1.5", "{", "x #y", "", "é", "127.0.0.1:80", "::1"]
)
def test_flow_text_is_read_back(value):
    assert Document("x", flow({"k": [value, 1, True, None]})).tree == {"k": [value, 1, True, None]}

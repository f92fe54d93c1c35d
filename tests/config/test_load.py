import os
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamseg.config.load import config_from_mapping, load_config, stream_from_mapping
from streamseg.errors import ConfigError
from tests.sources.test_images import png_that_claims


def cam(**settings):
    return {"streams": {"cam": {"source": "scene:default", **settings}}}


def refused(mapping, tmp_path=None):
    with pytest.raises(ConfigError) as caught:
        config_from_mapping(mapping, base=tmp_path)
    return str(caught.value)


def lines_of(message):
    return [line.strip() for line in message.splitlines()[1:]]


def test_defaults_are_applied():
    config = config_from_mapping(cam())
    assert config.streams["cam"].stall_timeout_s == 5.0
    assert config.model.name == "nano"
    assert config.publish.endpoints == ("tcp://127.0.0.1:5555",)


def test_everything_can_be_set(tmp_path):
    (tmp_path / "mask.png").write_bytes(b"")
    config = config_from_mapping(
        {
            "streams": {
                "cam1": {
                    "source": "rtsp://h/x",
                    "transport": "udp",
                    "open_timeout_s": 3,
                    "stall_timeout_s": 2.5,
                    "pace": "fast",
                    "on_discontinuity": "reprompt",
                    "lost_after_s": 9,
                    "prompts": [
                        {"object": 1, "label": "a", "points": [[1, 2], [3.5, 4, 0]], "box": [0, 0, 5, 5]},
                        {"object": 2, "mask": "mask.png"},
                        {"object": 3, "points": [[0.5, 1]], "coords": "normalized"},
                    ],
                }
            },
            "model": {"name": "tiny", "image_size": 512, "device": "cuda:1", "dtype": "bfloat16", "threads": 2},
            "publish": {"endpoints": ["tcp://127.0.0.1:6000", f"ipc://{tmp_path}/s"], "jpeg_quality": 50},
            "log": {"level": "debug", "format": "json"},
        },
        base=tmp_path,
    )
    prompts = config.streams["cam1"].prompts
    assert prompts[0].points == ((1.0, 2.0), (3.5, 4.0, 0.0))
    assert prompts[1].mask == str(tmp_path / "mask.png")
    assert config.model.threads == 2


def test_all_mistakes_are_reported_at_once_with_their_lines(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "streams:\n"
        "  cam1:\n"
        "    source: scene:default\n"
        "    stal_timeout_s: 3\n"
        "    loop: maybe\n"
        "  Cam 2:\n"
        "    source: scene:default\n"
        "    prompts:\n"
        "      - object: 1\n"
        "        box: [5, 5, 1, 1]\n"
        "      - object: 1\n"
        "        points: [[1.5, 0.5]]\n"
        "        coords: normalized\n"
        "model:\n"
        "  image_size: 500\n"
        "publish:\n"
        "  endpoints: [tcp://0.0.0.0:5555]\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    message = str(caught.value)
    assert message.splitlines()[0] == f"{path}: 8 settings are invalid"
    found = lines_of(message)
    assert found[0].startswith("line 4: streams.cam1.stal_timeout_s: 3: there is no such setting")
    assert found[0].endswith("did you mean stall_timeout_s?")
    assert found[1] == "line 5: streams.cam1.loop: 'maybe' is invalid: expected true or false"
    assert found[2].startswith("line 6: streams.Cam 2: 'Cam 2' is not a valid stream id")
    assert found[3].startswith("line 10: streams.Cam 2.prompts[0].box: the box [5.0, 5.0, 1.0, 1.0] is empty")
    assert found[4].startswith("line 11: streams.Cam 2.prompts[1].object: 1 is already the object of prompts[0]")
    assert found[5].startswith("line 12: streams.Cam 2.prompts[1].points[0]: [1.5, 0.5] is outside the picture")
    assert found[6].startswith("line 15: model.image_size: 500 is invalid: expected a whole number from 64 to 2048")
    assert found[7].startswith("line 17: publish.endpoints[0]: 'tcp://0.0.0.0:5555' is reachable")


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"streams": None}, "streams: is empty: write a stream, for example cam: {source: webcam:0}, or {} to wait"),
        ({"streams": []}, "streams: [] is invalid: expected a group of settings for each name"),
        ({"model": {}}, "streams: is missing: expected a group of settings for each name"),
        (
            cam(prompters={str(number): {"type": "onnx"} for number in range(5)}),
            "expected a group of settings for each of at most 4 names",
        ),
        ({"streams": {"cam": None}}, "streams.cam: empty is invalid: expected a group of settings (source, "),
        ({"streams": {"cam": {}}}, "streams.cam.source: is missing: expected text"),
        ({**cam(), "endpoints": ["x"]}, "endpoints: a list: there is no such setting; did you mean publish.endpoints?"),
        (
            {**cam(), "frobnicate": 1},
            "there is no such setting; the file takes streams, model, publish, control, http, security, state, record",
        ),
        ({**cam(), "log": None}, "log: empty is invalid: expected a group of settings (level, format), or remove"),
        ({**cam(), "log": {"level": "loud"}}, "log.level: 'loud' is invalid: expected debug, error, info or warning"),
        ({"streams": {1: {"source": "scene:default"}}}, "streams.1: YAML reads this name as int 1: quote it"),
        ({"streams": {"_x": {"source": "scene:default"}}}, "ids that begin with _ are reserved"),
        (cam(stall_timeout_s=0), "0 is invalid: expected a number above 0"),
        (cam(stall_timeout_s="5"), "'5' is invalid: expected a number above 0"),
        (cam(stall_timeout_s=float("nan")), "streams.cam.stall_timeout_s: nan is invalid"),
        (cam(open_timeout_s=True), "true is invalid"),
        (cam(loop=True, source="rtsp://h/x"), "streams.cam.loop: true, but this source is live"),
        (cam(source="gopher://h/x"), "streams.cam.source: "),
        (cam(prompts=[{"object": 1}]), "streams.cam.prompts[0]: the prompt is empty: give points, a box or a mask"),
        (cam(prompts=[{"object": 0, "box": [0, 0, 1, 1]}]), "prompts[0].object: 0 is invalid"),
        (
            cam(prompts=[{"object": 1, "points": [320, 240]}]),
            "points: [320, 240] is invalid: expected a list of lists of 2 to 3 numbers: write points: [[320, 240]]",
        ),
        ({**cam(), "http": {"listen": 8080}}, "listen: 8080 is invalid: expected text like 127.0.0.1:8080, [::1]:8080"),
        ({**cam(), "http": {"listen": 8080}}, ": write listen: 127.0.0.1:8080"),
        ({**cam(), "publish": {"endpoints": "tcp://127.0.0.1:1"}}, "write endpoints: [tcp://127.0.0.1:1]"),
        ({**cam(), "http": {"hosts": "camera.example"}}, "write hosts: [camera.example]"),
        ({**cam(), "model": "tiny"}, ": write model: {name: tiny}"),
        ({"streams": {"cam": "rtsp://u:pw@h/1"}}, ": write cam: {source: rtsp://u:***@h/1}"),
        (cam(prompts=[{"object": 1, "points": [[1]]}]), "points[0]: [1] is invalid: expected a list of 2 to 3 numb"),
        (cam(prompts=[{"object": 1, "points": [1, 2]}]), "points: [1, 2] is invalid: expected a list of lists of 2 to"),
        (cam(prompts=[{"object": 1, "points": [[1, 2, 3]]}]), "label 3 is invalid: 1 is on the object, 0 is off"),
        (cam(prompts=[{"object": 1, "points": [[1, 2, 0]]}]), "all points are off the object"),
        (cam(prompts=[{"object": 1, "points": [[float("nan"), 2]]}]), "outside the picture"),
        (cam(prompts=[{"object": 1, "points": [[float("inf"), 2]]}]), "outside the picture"),
        (cam(prompts=[{"object": 1, "points": [[-1, 2]]}]), "coordinates are 0 or more pixels"),
        (cam(prompts=[{"object": 1, "box": [0, 0, 1]}]), "box: [0, 0, 1] is invalid: expected a list of 4 numbers"),
        (cam(prompts=[{"object": 1, "mask": "/no/such.png"}]), "mask: there is no file '/no/such.png'"),
        (cam(prompts=[{"object": 1, "mask": "/no/such", "box": [0, 0, 1, 1]}]), "a mask stands alone"),
        (
            {**cam(prompts=[{"object": n, "box": [0, 0, 1, 1]} for n in (1, 2)]), "model": {"max_objects": 1}},
            "streams.cam.prompts: 2 objects, but model.max_objects is 1",
        ),
        ({**cam(), "model": {"name": "tinny"}}, "model.name: model 'tinny' is unknown: did you mean 'tiny'?"),
        ({**cam(), "model": {"name": "./x.pt"}}, "model.name: there is no file"),
        (
            {**cam(), "model": {"name": "tiny", "config": "a.yaml"}},
            "model.config: 'a.yaml' needs model.name to be the path",
        ),
        ({**cam(), "model": {"device": "tpu"}}, "'tpu' is invalid: expected text like auto, cpu, cuda, cuda:1"),
    ],
)
def test_refusals_name_the_path_the_value_and_the_fix(mapping, words):
    assert words in refused(mapping)


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("tcp://127.0.0.1", "has no port"),
        ("tcp://127.0.0.1:0", "has an invalid port"),
        ("tcp://127.0.0.1:99999", "has an invalid port"),
        ("tcp://*:5555", "is reachable from other machines"),
        ("tcp://192.0.2.1:5555", "is reachable from other machines"),
        ("tcp://[2001:db8::1]:5555", "is reachable from other machines"),
        ("tcp://eth0:5555", "is reachable from other machines"),
        ("tcp://camera.example:5555", "a host name cannot be bound"),
        ("ipc://relative", "has no absolute path"),
        ("ipc:///no/such/folder/s", "there is no folder"),
        ("ipc:///tmp/" + "x" * 110, "is too long"),
        ("http://127.0.0.1:80", "cannot be bound"),
        ("5555", "cannot be bound"),
    ],
)
def test_invalid_endpoints_and_those_open_to_everyone_are_refused(endpoint, words):
    assert words in refused({**cam(), "publish": {"endpoints": [endpoint]}})


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:1", "tcp://127.9.9.9:5555", "tcp://[::1]:5555", "ipc:///tmp/s"])
def test_loopback_endpoints_need_no_permission(endpoint):
    assert config_from_mapping({**cam(), "publish": {"endpoints": [endpoint]}}).publish.endpoints == (endpoint,)


def test_a_public_endpoint_with_permission():
    publish = {"endpoints": ["tcp://0.0.0.0:5555"], "allow_unauthenticated": True}
    assert config_from_mapping({**cam(), "publish": publish}).publish.endpoints == ("tcp://0.0.0.0:5555",)


def test_a_duplicate_endpoint_is_refused():
    assert "duplicate endpoint" in refused({**cam(), "publish": {"endpoints": ["tcp://127.0.0.1:1"] * 2}})


def test_relative_paths_start_at_the_file(tmp_path, monkeypatch):
    folder = tmp_path / "etc"
    folder.mkdir()
    for name in ("mask.png", "clip.mp4", "own.pt", "own.yaml"):
        (folder / name).write_bytes(b"x")
    (folder / "c.yaml").write_text(
        "streams: {cam: {source: clip.mp4, prompts: [{object: 1, mask: mask.png}]}}\n"
        "model: {name: own.pt, config: own.yaml}\n"
    )
    monkeypatch.chdir(tmp_path)
    config = load_config("etc/c.yaml")
    assert config.streams["cam"].source == str(folder / "clip.mp4")
    assert config.streams["cam"].prompts[0].mask == str(folder / "mask.png")
    assert (config.model.name, config.model.config) == (str(folder / "own.pt"), str(folder / "own.yaml"))


def test_a_password_of_the_environment_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("CAM_PASSWORD", "p@ss/w:rd#1\n: {evil}")
    path = tmp_path / "c.yaml"
    path.write_text("streams: {cam: {source: 'rtsp://admin:${CAM_PASSWORD}@192.0.2.1/x'}}")
    source = load_config(path).streams["cam"].source
    assert source == "rtsp://admin:p%40ss%2Fw%3Ard%231%0A%3A%20%7Bevil%7D@192.0.2.1/x"


def test_a_password_in_a_message_is_the_variables_name(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_WORD", "hunter2")
    message = refused(
        {
            "streams": {
                "cam": {
                    "source": "scene:default",
                    "transport": "${SECRET_WORD}",
                    "password": "hunter2",
                    "url": "rtsp://u:hunter2@h/",
                    "prompts": [{"object": "rtsp://u:hunter2@h/"}],
                }
            },
            "publish": {"endpoints": ["${SECRET_WORD}"]},
        }
    )
    assert "hunter2" not in message
    assert "streams.cam.transport: ${SECRET_WORD} is invalid" in message
    assert "publish.endpoints[0]: ${SECRET_WORD} cannot be bound" in message
    assert "streams.cam.password: ***: there is no such setting" in message


def test_a_message_with_a_variable_says_that_it_is_set(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIP", "hunter2.mp4")
    monkeypatch.setenv("NOTHING", "")
    assert lines_of(refused(cam(source="clips/${CLIP}", transport="${NOTHING}"), tmp_path)) == [
        "streams.cam.transport: ${NOTHING} is invalid: expected tcp or udp (${NOTHING} is empty)"
    ]
    assert lines_of(refused(cam(source="clips/${CLIP}"), tmp_path)) == [
        f"streams.cam.source: there is no file or folder '{tmp_path}/clips/${{CLIP}}': '{tmp_path}' holds nothing with "
        "a similar name (${CLIP} has a value, which is not shown, since it may be a secret)"
    ]


def test_a_password_in_a_source_that_is_not_a_source_is_not_shown(monkeypatch):
    monkeypatch.setenv("CAM_PASSWORD", "hunter2")
    assert "hunter2" not in refused(cam(source="gopher://admin:${CAM_PASSWORD}@h/x"))
    assert "hunter2" not in refused(cam(source="gopher://admin:hunter2@h/x"))
    assert "hunter2" not in refused(cam(source="${CAM_PASSWORD}://h"))


@pytest.mark.parametrize(
    "source", ["rtsp://u:12 hunter2@h/x", "RTSP://a.b:12 hunter2@h", " http://u:hunter2@h", "rtmp://a\tb"]
)
def test_white_space_in_an_address_is_refused_without_showing_it(source):
    message = refused(cam(source=source, prompts=[{"object": 1}]))
    assert "streams.cam.source: the " in message
    assert ":// address contains white space: percent-encode it as %20" in message
    assert "hunter2" not in message
    assert "prompts[0]: the prompt is empty" in message


def test_white_space_in_paths_and_filters_is_fine(tmp_path):
    (tmp_path / "my clip.mp4").write_bytes(b"")
    for source in ("my clip.mp4", f"file://{tmp_path}/my clip.mp4", "lavfi:testsrc2 , scale=64:48"):
        config_from_mapping(cam(source=source), base=tmp_path)


def test_environment_values_are_numbers_where_numbers_are_wanted(monkeypatch):
    monkeypatch.setenv("THREADS", "3")
    monkeypatch.setenv("LOOP", "true")
    config = config_from_mapping({**cam(stall_timeout_s="${STALL:-2.5}"), "model": {"threads": "${THREADS}"}})
    assert config.model.threads == 3
    assert config.streams["cam"].stall_timeout_s == 2.5
    monkeypatch.setenv("THREADS", "many")
    assert "model.threads: ${THREADS} is invalid" in refused({**cam(), "model": {"threads": "${THREADS}"}})


def test_all_unset_variables_are_reported(monkeypatch):
    monkeypatch.delenv("NO_SUCH_1", raising=False)
    monkeypatch.delenv("NO_SUCH_2", raising=False)
    message = refused({**cam(source="rtsp://u:${NO_SUCH_1}@h"), "model": {"threads": "${NO_SUCH_2}"}})
    assert lines_of(message) == [
        "streams.cam.source: the environment variable NO_SUCH_1 is not set: export NO_SUCH_1 first, "
        "or write ${NO_SUCH_1:-default}",
        "model.threads: the environment variable NO_SUCH_2 is not set: export NO_SUCH_2 first, "
        "or write ${NO_SUCH_2:-default}",
    ]


def test_a_broken_variable_is_reported():
    assert "'${1x}' is not a variable" in refused(cam(source="rtsp://u:${1x}@h"))
    assert "'${X' is not a variable" in refused(cam(source="rtsp://h/${X"))


@pytest.mark.parametrize(
    ("environment", "expected"), [({}, "scene:leave"), ({"V": ""}, "scene:leave"), ({"V": "simple"}, "scene:simple")]
)
def test_variables_may_have_defaults(environment, expected, monkeypatch):
    monkeypatch.delenv("V", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert config_from_mapping(cam(source="scene:${V:-leave}")).streams["cam"].source == expected


def test_dollar_signs_without_a_name_stay():
    assert config_from_mapping(cam(source="rtsp://h/a$b$$c$${d}")).streams["cam"].source == "rtsp://h/a$b$c${d}"


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner),
        max_leaves=8,
    )
)
def test_any_value_loads_or_raises_a_config_error(value):
    for mapping in ({"streams": value}, cam(prompts=value), {**cam(), "model": value}, cam(stall_timeout_s=value)):
        try:
            config_from_mapping(mapping, base=Path(os.sep))
        except ConfigError as error:
            assert ": " in str(error)  # noqa: PT017 - it may be raised, it need not


def test_a_thousand_unknown_settings_are_each_named_and_few_get_a_suggestion():
    stream = {"source": "scene:simple", **{f"stal_timeout_s{n}": n for n in range(1000)}}
    with pytest.raises(ConfigError) as error:
        config_from_mapping({"streams": {"cam": stream}})
    text = str(error.value)
    assert text.count("there is no such setting") == 1000
    assert text.count("did you mean stall_timeout_s?") == 20


@pytest.mark.parametrize("value", [f"0x{'f' * 5000}", f"[0x{'f' * 5000}, 1]", f"{{a: 0x{'f' * 5000}}}"])
@pytest.mark.parametrize("key", ["fps", "pace", "nonsense", "prompts"])
def test_numbers_that_python_refuses_to_write_are_reported(tmp_path, key, value):
    path = tmp_path / "c.yaml"
    path.write_text(f"streams:\n  cam:\n    source: scene:simple\n    {key}: {value}\nmodel: {value}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert "line 4" in str(caught.value)


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (
            "Bad Name",
            "record.streams[1]: 'Bad Name' is not a valid stream id: use a-z, 0-9, _ and -, for example bad-name",
        ),
        ("../x", "record.streams[1]: '../x' is not a valid stream id"),
        ("_daemon", "record.streams[1]: '_daemon': ids that begin with _ are reserved for streamseg: use daemon"),
    ],
)
def test_streams_to_record_need_valid_ids(stream, words):
    assert words in refused({**cam(), "record": {"path": "x", "streams": ["cam", stream]}})
    record = {"path": "x", "streams": ["cam", "added-later"]}
    assert config_from_mapping({**cam(), "record": record}).record.streams == ("cam", "added-later")


def test_a_change_is_accepted_beside_an_existing_error(tmp_path):
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"any")
    before = stream_from_mapping("cam", {"source": str(video)}, max_objects=8)
    video.unlink()
    settings = msgspec.to_builtins(before)
    changed = stream_from_mapping("cam", {**settings, "lost_after_s": 5.0}, max_objects=8, before=before)
    assert changed.lost_after_s == 5.0
    with pytest.raises(ConfigError, match="polygon"):
        stream_from_mapping(
            "cam", {**settings, "zones": {"a": {"polygon": [[0, 0], [1, 1]]}}}, max_objects=8, before=before
        )
    with pytest.raises(ConfigError, match="clip"):
        stream_from_mapping("cam", settings, max_objects=8)


@pytest.mark.parametrize("size", [(30_000, 30_000), (2**31 - 1, 1), (8_193, 8_193)])
def test_a_mask_that_is_a_picture_bomb_is_refused_by_its_header(tmp_path, size):
    (tmp_path / "m.png").write_bytes(png_that_claims(*size))
    (tmp_path / "fine.png").write_bytes(png_that_claims(8_192, 8_192))

    def masked(name):
        return cam(prompts=[{"object": 1, "mask": str(tmp_path / name)}])

    assert re.search(r"prompts\[0\]\.mask: .*m\.png' cannot be read: it has .* smaller image", refused(masked("m.png")))
    config_from_mapping(masked("fine.png"))

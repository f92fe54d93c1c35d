import json
import os
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from streamseg import __version__
from streamseg.cli import run
from streamseg.config.load import config_from_mapping
from streamseg.config.schema import ModelConfig
from streamseg.errors import ConfigError, ModelError
from streamseg.models.registry import MODELS, resolve

CONFIGS = Path(__file__).parents[2] / "configs"
COMMANDS = ["run", "demo", "subscribe", "view", "probe", "models list", "models pull", "models path"]
COMMANDS += ["config check", "config schema", "reload", "status", "prompt undo", "prompt label"]
COMMANDS += ["automask", "segment"]
COMMANDS += ["stream pause", "stream resume", "stream reset"]


def test_help_names_every_command(invoke):
    result = invoke("--help")
    assert result.exit_code == 0
    for command in COMMANDS:
        assert command.split()[0] in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_an_example(invoke, command):
    result = invoke(*command.split(), "--help")
    assert result.exit_code == 0
    examples = result.output.partition("Example")[2]
    assert f"streamseg {command}" in examples


def test_version_is_printed(invoke):
    assert invoke("--version").output == f"streamseg {__version__}\n"


@pytest.mark.parametrize("arguments", [["frobnicate"], ["run", "--frobnicate"], ["subscribe", "--count", "0"]])
def test_wrong_usage_exits_with_2(invoke, arguments):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.output


@pytest.mark.parametrize(
    ("arguments", "option", "value"),
    [
        (["subscribe", "--count", "none"], "--count", "none"),
        (["subscribe", "--count", "-7"], "--count", "-7"),
        (["prompt", "remove", "cam", "cup"], "OBJECT", "cup"),
        (["demo", "--seconds", "1e99"], "--seconds", "1e99"),
    ],
)
def test_a_wrong_value_is_named_with_its_option(invoke, arguments, option, value):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.output
    assert value in result.output


@pytest.mark.parametrize("command", ["run", "probe", "subscribe"])
def test_wrong_usage_shows_no_password(invoke, command):
    result = invoke(command, "one", "rtsp://admin:Tr0ub4dor@camera/1", "three")
    assert result.exit_code == 2
    assert "***@camera/1" in result.output
    assert "Tr0ub4dor" not in result.output


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://admin:Tr0ub4dor#3@host/x",
        "rtsp://Tr0ub4dor x/@h/a",
        "http://h/a?jwt=x'Tr0ub4dor [b] Tr0ub4dor",
        "http://h/a#x Tr0ub4dor",
    ],
)
@pytest.mark.parametrize(
    "arguments", ["{}", "--{}", "--source={}", "-{}", "run {} {}", "run --sourc {}", "run --loop={}", "stream {}"]
)
def test_no_place_of_an_argument_shows_a_password(invoke, address, arguments):
    result = invoke(*(argument.format(address) for argument in arguments.split()))
    assert result.exit_code == 2
    assert "Tr0ub4dor" not in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "nothing to run: pass a CONFIG or a SOURCE"),
        (["run", "missing.yaml"], "missing.yaml cannot be read (No such file or directory)"),
        (["run", CONFIGS / "demo.yaml", "--source", "webcam:0"], "--source cannot be combined with a CONFIG"),
        (["run", CONFIGS / "demo.yaml", "--point", "1,2", "--loop"], "--loop, --point, --box or --mask cannot be"),
        (["run", CONFIGS / "demo.yaml", "--model", "tinny"], "model 'tinny' is unknown: did you mean 'tiny'?"),
        (["run", CONFIGS / "demo.yaml", "--model", "x/y.pt"], "--model: there is no file"),
        (["run", CONFIGS / "demo.yaml", "--model-config", "a.yaml"], "--model-config: 'a.yaml' needs model.name to be"),
        (["run", CONFIGS / "demo.yaml", "--device", "tpu"], "--device: 'tpu' is invalid"),
        (["run", CONFIGS / "demo.yaml", "--endpoint", "tcp://0.0.0.0:1"], "is reachable from other machines"),
        (["run", CONFIGS / "demo.yaml", "--log-level", "loud"], "--log-level: 'loud' is invalid"),
        (["run", "--source", "gopher://x"], "SOURCE: "),
        (["run", "scene:default", "--source", "scene:simple"], "the source is given twice"),
        (["run", "gone.mp4"], "SOURCE: there is no file or folder"),
        (["run", "0"], "for a webcam write webcam:0"),
        (["run", "webcam"], "for a webcam write webcam:0"),
        (["run", "rtsp://admin:Tr0ub4dor#3@host/"], "percent-encode"),
        (["run", "scene:default", "--coords", "px"], "--coords 'px' is unknown: write pixels or"),
        (
            ["run", "scene:default", "--coords", "pixels", "--point", "5%,5%"],
            "--coords and percent (%) exclude each other",
        ),
        (["run", "--source", "scene:default", "--point", "1"], "--point '1': write X,Y"),
        (["run", "--source", "scene:default", "--mask", "missing.png"], "--mask: there is no file"),
        (["run", "--source", "scene:default", "--pace", "slow"], "--pace: 'slow' is invalid"),
        (["run", "--source", "rtsp://u:${NO_SUCH_VARIABLE}@h/"], "the environment variable NO_SUCH_VARIABLE is not"),
        (["demo", "--frames", "1", "--seconds", "1"], "--frames and --seconds cannot be combined"),
        (["demo", "--out", "x.gif"], "--out 'x.gif': use a name that ends in .mp4 or .png"),
        (["demo", "--size", "big"], "write WIDTHxHEIGHT"),
        (["demo", "--box", "1,2,3,4"], "--box and --mask need --source"),
        (["demo", "--source", "clip.mp4"], "--source needs an object to track"),
        (["view", "ipc:///tmp/x", "--out", "x.avi"], "ends in .mp4 or .png"),
        (["subscribe", "nowhere"], "write tcp://HOST:PORT or ipc:///PATH"),
        (["status", "--control", "nowhere"], "--control: 'nowhere': "),
        (["subscribe", "--kinds", "maks"], "kinds: 'maks' is unknown"),
        (["probe", "gopher://x"], "unknown kind of source 'gopher'"),
    ],
)
def test_errors_name_the_option_and_the_fix(invoke, arguments, words):
    result = invoke(*arguments)
    assert isinstance(result.exception, ConfigError), result.output
    assert words in str(result.exception)


@pytest.mark.parametrize("of_the_file", [["--source", "scene:default"], [CONFIGS / "demo.yaml"]])
@pytest.mark.parametrize("given", ["own.yaml", "sam2.1_hiera_t.yaml"])
def test_an_own_checkpoint_needs_its_config(invoke, monkeypatch, tmp_path, of_the_file, given):
    taken = []
    monkeypatch.setattr(run, "_run", lambda config, read_config, _file=None: taken.append(config.model) or 0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.pt").touch()
    (tmp_path / "own.yaml").touch()
    with pytest.raises(ModelError, match="or --model-config"):
        resolve(ModelConfig(name="own.pt"))
    result = invoke("run", *of_the_file, "--model", "own.pt", "--model-config", given)
    assert result.exit_code == 0, result.exception
    assert taken[0].name == str(tmp_path / "own.pt")
    assert taken[0].config == (str(tmp_path / "own.yaml") if given == "own.yaml" else given)


def test_a_fatal_error_is_json_in_a_json_log(streamseg, tmp_path):
    options = ("run", "--source", "scene:simple", "--model", "tiny", "--endpoint", f"ipc://{tmp_path}/pub")
    done = streamseg(*options, "--log-format", "json")
    assert done.returncode == 3
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["level"] for line in lines].count("critical") == 1
    assert lines[-1]["message"].startswith("model 'sam2.1_hiera_tiny' has no checkpoint")
    assert "error" not in lines[-1]
    done = streamseg("--debug", *options, "--log-format", "json")
    assert "Traceback" in json.loads(done.stderr.splitlines()[-1])["error"]
    done = streamseg(*options)
    assert done.stderr.splitlines()[-1].startswith("error: model 'sam2.1_hiera_tiny' has no checkpoint")


def test_demo_runs_where_the_runtime_folder_is_not_there(invoke, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "absent"))
    result = invoke("demo", "--model", "tiny")
    # Everything but the checkpoint was accepted.
    assert isinstance(result.exception, ModelError), result.exception


def test_config_check_accepts_a_valid_file(invoke):
    result = invoke("config", "check", CONFIGS / "demo.yaml")
    assert result.exit_code == 0
    assert "is valid" in result.output
    assert "stream scene: scene:simple, 3 objects to track" in result.output


def test_a_device_given_to_run_is_refused_as_a_source(invoke):
    result = invoke("run", "/dev/zero")
    assert result.exit_code != 0
    assert "'/dev/zero' is a device, not a video" in str(result.exception)


def test_config_check_hides_passwords_and_names_missing_steps(invoke, monkeypatch):
    monkeypatch.setenv("CAM_PASSWORD", "hunter2")
    result = invoke("config", "check", CONFIGS / "rtsp.yaml")
    assert result.exit_code == 0
    assert "rtsp://admin:***@192.0.2.10:554/stream1" in result.output
    assert "hunter2" not in result.output
    assert "streamseg models pull" in result.output


@pytest.mark.parametrize("source", ["scene:default?frames=9", "webcam:0", "rtsp://u:pw@cam/1", "clip.mp4", "folder"])
def test_run_accepts_a_source(invoke, monkeypatch, tmp_path, source):
    taken = []
    monkeypatch.setattr(run, "_run", lambda config, read_config, _file=None: taken.append((config, read_config)) or 0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "1.png").touch()
    result = invoke("run", source, "--point", "0.5,0.25", "--coords", "normalized", "--pace", "camera")
    assert result.exit_code == 0, result.exception
    (config, read_config) = taken[0]
    assert config.streams["cam"].source.endswith(source)
    assert config.streams["cam"].pace == "camera"
    assert config.streams["cam"].prompts[0].coords == "normalized"
    assert config.streams["cam"].prompts[0].points == ((0.5, 0.25),)
    assert read_config is None


@pytest.mark.parametrize("name", ["c.yaml", "c.yml", "settings"])
def test_run_accepts_a_configuration(invoke, monkeypatch, tmp_path, name):
    taken = []
    monkeypatch.setattr(run, "_run", lambda config, read_config, _file=None: taken.append(read_config) or 0)
    (tmp_path / name).write_text("streams: {cam: {source: 'scene:default'}}")
    assert invoke("run", tmp_path / name).exit_code == 0
    assert taken[0] is not None


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="there is a GPU")
def test_config_check_warns_of_a_gpu_that_is_not_there(invoke, tmp_path):
    (tmp_path / "c.yaml").write_text(
        "streams: {cam: {source: 'scene:default'}}\nmodel: {name: color, device: 'cuda:0'}"
    )
    result = invoke("config", "check", tmp_path / "c.yaml")
    assert result.exit_code == 0
    assert "warning: model.device is cuda:0, but" in result.output


def test_config_schema_is_valid(invoke):
    schema = json.loads(invoke("config", "schema").output)
    Draft202012Validator.check_schema(schema)
    assert "streams" in schema["$defs"]["Config"]["properties"]


def test_models_list_names_every_model(invoke, tmp_path):
    result = invoke("models", "list")
    assert result.exit_code == 0
    for name in MODELS:
        assert name in result.output
    assert str(tmp_path / "models") in result.output


def test_models_path_prints_folder_or_file(invoke, tmp_path):
    assert invoke("models", "path").output == f"{tmp_path / 'models'}\n"
    missing = invoke("models", "path", "tiny")
    assert isinstance(missing.exception, ModelError)
    assert "run `streamseg models pull tiny`" in str(missing.exception)
    file = tmp_path / "models" / "sam2.1_hiera_tiny.pt"
    file.parent.mkdir()
    file.write_bytes(b"")
    assert invoke("models", "path", "tiny").output == f"{file}\n"
    assert isinstance(invoke("models", "path", "colour").exception, ModelError)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nano"], "has no checkpoint to fetch"),
        (["tinny"], "did you mean 'tiny'?"),
        (["tiny", "--mirror", "ftp://x"], "expected an http:// or https:// address"),
    ],
)
def test_models_that_cannot_be_pulled_are_refused(invoke, arguments, words):
    result = invoke("models", "pull", *arguments)
    assert isinstance(result.exception, ModelError)
    assert words in str(result.exception)


def test_the_executable_says_one_clear_message_and_exits_with_the_errors_code(streamseg):
    done = streamseg("run", "missing.yaml")
    assert done.returncode == 2
    assert (
        done.stderr == "error: missing.yaml cannot be read (No such file or directory): give the path of a YAML file\n"
    )
    assert done.stdout == ""
    assert streamseg("models", "path", "tiny").returncode == 3
    assert streamseg("probe", "/dev/video63").returncode == 4


def test_debug_shows_where_an_error_comes_from(streamseg):
    done = streamseg("--debug", "run", "missing.yaml")
    assert done.returncode == 2
    assert "Traceback (most recent call last)" in done.stderr
    assert "ConfigError: missing.yaml cannot be read" in done.stderr


def test_text_that_is_not_utf8_is_escaped_on_every_way_out(streamseg):
    folder = streamseg.folder / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    file = folder / os.fsdecode(b"k\xf6nf.yaml")
    file.write_text("streams: {cam: {source: 'scene:simple'}}\n")

    def output(*arguments, code=0):
        done = streamseg(*arguments)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    assert r"caf\xe9/k\xf6nf.yaml is valid" in output("config", "check", file)
    assert r"k\xf6nf-" in output("state", "show", file)
    assert r"k\xf6nf-" in json.loads(output("state", "show", file, "--json"))["path"]
    assert r"caf\xe9/n\xf6.yaml cannot be read" in output("run", folder / os.fsdecode(b"n\xf6.yaml"), code=2)
    for command in (("status", "--control"), ("reload", "--control"), ("subscribe",)):
        assert "write tcp://HOST:PORT" in output(*command, os.fsdecode(b"ipc:///tmp/caf\xe9"), code=2)


def test_a_password_that_is_not_utf8_is_percent_encoded(monkeypatch):
    monkeypatch.setitem(os.environ, "CAM_PASSWORD", os.fsdecode(b"l\xe9\xff"))
    config = config_from_mapping({"streams": {"cam": {"source": "rtsp://u:${CAM_PASSWORD}@h/"}}})
    assert config.streams["cam"].source == "rtsp://u:l%E9%FF@h/"

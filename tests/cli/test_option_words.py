"""Messages of commands name options, not settings of a file that was never written."""

import pytest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "scene:simple", "--point", "0.5,0.5"], "--point: [0.5, 0.5] looks normalized, but numbers without %"),
        (["run", "scene:simple", "--point", "0.5,0.5"], "are pixels: use --coords normalized"),
        (["run", "scene:simple", "--point", "150%,50%"], "--point: [1.5, 0.5] is outside the picture"),
        (["run", "scene:simple", "--point", "5,5,0"], "--point: all points are off the object"),
        (
            ["run", "scene:simple", "--box", "9,9,1,1"],
            "--box: the box [9.0, 9.0, 1.0, 1.0] is empty: write X0,Y0",
        ),
        (["run", "scene:simple", "--box", "1,1,9,9", "--mask", "m.png"], "--point, --box, --mask: --mask stands alone"),
        (["run", "scene:simple", "--mask", "/no/such.png"], "--mask: there is no file '/no/such.png'"),
        (["run", "scene:simple", "--pace", "Fast"], "--pace: 'Fast' is invalid: expected camera, fast or live: write"),
        (["run", "scene:simple", "--pace", "Fast"], "write --pace fast"),
        (["run", "scene:simple", "--device", "GPU"], "write --device cuda"),
        (["run", "scene:simple", "--http", "8080"], "--http: '8080' has no port"),
        (["run", "scene:simple", "--http", "0.0.0.0:8080"], "use a CONFIG file with http.token set"),
        (
            ["run", "scene:simple", "--endpoint", "5555"],
            "--endpoint: '5555' cannot be bound: write tcp://127.0.0.1:5555",
        ),
        (["run", "scene:simple", "--log-level", "warn"], "write --log-level warning"),
        (["run", "gopher://x/y"], "SOURCE: "),
        (["probe", "/dev/video" + "1" * 50], "URL: "),
        (["probe", "scene:simple", "--transport", "tpc"], "--transport: 'tpc' is invalid: expected tcp or udp"),
        (["demo", "--device", "GPU", "--no-page"], "write --device cuda"),
        (["demo", "--source", "scene:simple", "--pace", "cam", "--point", "5,5"], "write --pace camera"),
    ],
)
def test_a_mistake_in_an_option_names_the_option(invoke, arguments, words):
    result = invoke(*arguments)
    message = str(result.exception)
    assert words in message
    assert message.startswith(("one option is invalid\n", "2 options are invalid\n"))
    assert "streams." not in message
    assert "coords is" not in message


def test_settings_of_a_file_keep_their_names_beside_an_option(invoke, tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("streams: {}\nlog: {level: loud}\n")
    result = invoke("run", str(file), "--device", "GPU")
    message = str(result.exception)
    assert "line 2: log.level: 'loud' is invalid" in message
    assert "  --device: 'GPU' is invalid" in message
    assert "2 settings are invalid" in message

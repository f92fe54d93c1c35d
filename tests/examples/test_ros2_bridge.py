"""The bridge to ROS 2: its messages for a frame, and real ROS messages where PyPI's ROS packages install."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from streamseg.client import MaskFrame
from streamseg.client.assembly import assemble
from tests.client.conftest import Messages
from tests.e2e.daemon_process import DISC, DaemonProcess
from tests.examples.load import load_example

ROOT = Path(__file__).parents[2]
PACKAGES = ["ros-rclpy>=9,<10", "ros-rmw-fastrtps-cpp>=9,<10", "ros-sensor-msgs>=5,<6", "ros-std-msgs>=5,<6"]
LISTEN = """
import json, rclpy
from rclpy.qos import qos_profile_sensor_data as qos
from sensor_msgs.msg import Image
from std_msgs.msg import String
rclpy.init()
node, images, texts = rclpy.create_node("listener"), {}, {}
def label(image):
    images[image.header.stamp.sec, image.header.stamp.nanosec] = image
def text(message):
    stamp = json.loads(message.data)["stamp"]
    texts[stamp["sec"], stamp["nanosec"]] = message.data
node.create_subscription(Image, "/test/cam/labels", label, qos)
node.create_subscription(String, "/test/cam/objects", text, qos)
while not (both := images.keys() & texts.keys()):
    rclpy.spin_once(node, timeout_sec=0.5)
at = both.pop()
image, text = images[at], texts[at]
print(json.dumps([image.encoding, image.width, image.height, image.step, image.header.frame_id, sum(image.data), text]))
"""


@pytest.fixture
def bridge() -> ModuleType:
    return load_example("ros2_bridge.py")


def test_a_frame_becomes_a_label_image_and_json(bridge: ModuleType) -> None:
    frame = assemble(Messages()("masks_coco_rle"))
    assert isinstance(frame, MaskFrame)
    labels = bridge.label_image(frame)
    assert (labels.dtype, labels.shape) == ("<u2", (frame.size[1], frame.size[0]))
    said = json.loads(bridge.objects_json(frame))
    assert said["stamp"]["sec"] * 10**9 + said["stamp"]["nanosec"] == frame.t_wall_ns
    for obj, described in zip(frame.objects, said["objects"], strict=True):
        assert described["value"] == obj.id
        assert (labels == obj.id).any() == (obj.area > 0)
    # An id that 16 bits do not hold.
    large = replace(frame, objects=(msgspec.structs.replace(frame.objects[0], id=65536 + 6),))
    (described,) = json.loads(bridge.objects_json(large))["objects"]
    assert (described["id"], described["value"]) == (65542, 7)
    assert set(bridge.label_image(large).flat) == {0, 7}


@pytest.mark.long
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the ROS packages of PyPI are for Python 3.11")
def test_messages_in_ros(tmp_path: Path) -> None:
    python = tmp_path / "ros" / "bin" / "python"
    subprocess.run(["uv", "venv", "-q", "--python", sys.executable, tmp_path / "ros"], check=True)
    install = ["uv", "pip", "install", "-q", "--python", python, *PACKAGES, ROOT / "clients" / "python"]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the ROS packages do not install here: {done.stderr[-500:]}")
    environment = {**os.environ, "ROS_LOCALHOST_ONLY": "1", "ROS_DOMAIN_ID": "87", "ROS_LOG_DIR": str(tmp_path / "log")}
    daemon = DaemonProcess(DISC, tmp_path)
    bridge = None
    try:
        daemon.wait_log("ready: masks at")
        command = [python, ROOT / "examples" / "ros2_bridge.py", daemon.endpoint, "--namespace", "test"]
        bridge = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        listen = [python, "-c", LISTEN]
        heard = subprocess.run(listen, env=environment, capture_output=True, text=True, timeout=120)
        assert heard.returncode == 0, heard.stderr
        encoding, width, height, step, name, total, text = json.loads(heard.stdout)
        assert (encoding, width, height, step, name) == ("mono16", 320, 180, 640, "cam")
        (cup,) = json.loads(text)["objects"]
        assert (cup["label"], cup["value"]) == ("cup", 1)
        assert total == cup["area"]
        bridge.terminate()
        assert "Traceback" not in bridge.communicate(timeout=60)[1]
        assert bridge.returncode == 0
    finally:
        if bridge is not None and bridge.poll() is None:
            bridge.kill()
        daemon.close()

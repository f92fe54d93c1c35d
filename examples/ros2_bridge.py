"""Publish masks to ROS 2: a label image, and a JSON of the objects with the same stamp.

In a sourced ROS 2 environment, or with Python 3.11 and
`pip install ros-rclpy ros-rmw-fastrtps-cpp ros-sensor-msgs ros-std-msgs`:

    pip install ./clients/python
    python examples/ros2_bridge.py [ENDPOINT] [--namespace streamseg]

`/streamseg/STREAM/labels` is a `sensor_msgs/Image` with encoding `mono16`: 0 is background, other values
are in the JSON.
`/streamseg/STREAM/objects` is a `std_msgs/String`. Both have the camera's time; match them by it.
"""

import argparse
import json
import signal
import sys

import numpy as np

from streamseg.client import MaskFrame, Subscriber
from streamseg.errors import SubscribeTimeoutError

LARGEST = 65535  # of mono16


def stamp_of(frame: MaskFrame) -> tuple[int, int]:
    """Return the camera's time as seconds and nanoseconds."""
    return divmod(frame.t_wall_ns, 1_000_000_000)


def value_of(obj_id: int) -> int:
    """Return the value of an object in the label image: its id, as long as 16 bits hold it."""
    return (obj_id - 1) % LARGEST + 1


def label_image(frame: MaskFrame) -> np.ndarray:
    """Return `uint16 [height, width]`, little-endian. Of masks that overlap, the smallest is on top."""
    labels = frame.label_map()
    return np.where(labels == 0, 0, (labels - 1) % LARGEST + 1).astype("<u2")


def objects_json(frame: MaskFrame) -> str:
    """Return the objects as JSON."""
    seconds, nanoseconds = stamp_of(frame)
    objects = [
        {
            "value": value_of(obj.id),
            "id": obj.id,
            "label": obj.label,
            "state": obj.state,
            "confidence": obj.confidence,
            "score": obj.score,
            "bbox": obj.bbox,
            "centroid": obj.centroid,
            "area": obj.area,
        }
        for obj in frame.objects
    ]
    stamp = {"sec": seconds, "nanosec": nanoseconds}
    return json.dumps({"stream": frame.stream, "frame": frame.frame, "stamp": stamp, "objects": objects})


def main() -> None:
    """Publish until Ctrl-C or SIGTERM, or until ROS shuts down."""
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from rclpy.signals import SignalHandlerOptions
    from sensor_msgs.msg import Image
    from std_msgs.msg import String

    parser = argparse.ArgumentParser()
    parser.add_argument("endpoint", nargs="?", default="tcp://127.0.0.1:5555")
    parser.add_argument("--namespace", default="streamseg")
    parser.add_argument("--key", help="key file, if the daemon asks for one")
    args = parser.parse_args(rclpy.utilities.remove_ros_args(sys.argv)[1:])

    # Between two frames, rather than by ROS while one is published.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("streamseg_bridge")
    publishers = {}

    def publish(frame: MaskFrame) -> None:
        name = frame.stream.replace("-", "_")  # names in ROS have no minus
        if name not in publishers:
            place = f"/{args.namespace}/{name}"
            publishers[name] = (
                node.create_publisher(Image, f"{place}/labels", qos_profile_sensor_data),
                node.create_publisher(String, f"{place}/objects", qos_profile_sensor_data),
            )
        labels, objects = publishers[name]
        image = Image(height=frame.size[1], width=frame.size[0], encoding="mono16", step=2 * frame.size[0])
        image.header.frame_id = frame.stream
        image.header.stamp.sec, image.header.stamp.nanosec = stamp_of(frame)
        image.data = label_image(frame).tobytes()
        labels.publish(image)
        objects.publish(String(data=objects_json(frame)))

    with Subscriber(args.endpoint, key_file=args.key) as subscriber:
        try:
            while rclpy.ok():
                try:
                    publish(subscriber.receive(0.5))
                except SubscribeTimeoutError:
                    continue  # no frame: the camera or the daemon is away
        except KeyboardInterrupt:
            pass
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()

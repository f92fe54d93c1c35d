"""What a person sees on the page, as arrays."""

from __future__ import annotations

import base64

import cv2
import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page

from streamseg.config.schema import PublishConfig
from streamseg.protocol.palette import color_of
from streamseg.sources.scene.code import read_frame_code
from streamseg.sources.scene.source import Scene

OPACITY = 0.4
_READ = """() => {
    const canvas = document.querySelector("#picture");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let text = "";
    for (let at = 0; at < data.length; at += 8192) text += String.fromCharCode(...data.subarray(at, at + 8192));
    return [canvas.width, canvas.height, btoa(text)];
}"""


def _as_sent(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The picture as the daemon's JPEG shows it, which blurs the edges of colors."""
    _, jpeg = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, PublishConfig().jpeg_quality])
    return np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), float)[..., ::-1]


def _way_to(
    obj_id: int, picture: NDArray[np.uint8], bare: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far each pixel is from the bare picture to an object's color (0, OPACITY, or 1 at the rim), and beside it."""
    way = np.array(color_of(obj_id), float) - bare
    share = np.clip(((picture - bare) * way).sum(axis=2) / np.maximum((way * way).sum(axis=2), 1), 0, 1)
    return share, np.linalg.norm(picture - bare - share[..., None] * way, axis=2)


class Eyes:
    """Looks at the large picture.

    Args:
        page: Opened.
        scene: What the stream shows.
    """

    def __init__(self, page: Page, scene: Scene) -> None:
        self._page = page
        self._scene = scene

    def wait_for_picture(self) -> Eyes:
        self._page.wait_for_selector("#picture[data-frame]")
        return self

    def rgba(self) -> NDArray[np.uint8]:
        """The picture on the screen, masks included: ``uint8 [H, W, 4]``."""
        width, height, data = self._page.evaluate(_READ)
        return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)

    def picture(self) -> NDArray[np.uint8]:
        """The same without its alpha channel."""
        return self.rgba()[..., :3]

    def truth(self, truth_id: int) -> NDArray[np.bool_]:
        """The true mask of an object in the picture on the screen."""
        return self._scene.truth(self.frame())[truth_id]

    def frame(self) -> int:
        """Number that is drawn into the picture on the screen."""
        number = read_frame_code(self.picture())
        assert number is not None
        return number

    def iou(self, obj_id: int, truth_id: int) -> float:
        """IoU of the object's mask on the screen with the scene's truth of the very same frame."""
        picture = self.picture()
        number = read_frame_code(picture)
        assert number is not None
        bare = _as_sent(self._scene.render(number))
        share, off = _way_to(obj_id, picture, bare)
        painted = share > OPACITY / 2
        for other in self._page.locator("#objects .object").evaluate_all("rows => rows.map((row) => row.dataset.id)"):
            painted &= off <= _way_to(int(other), picture, bare)[1]  # else it is painted in the other's color
        truth = self._scene.truth(number)[truth_id]
        union = np.count_nonzero(painted | truth)
        return np.count_nonzero(painted & truth) / union if union else 1.0

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the picture is on the screen."""
        box = self._page.locator("#overlay").bounding_box()
        assert box is not None
        width, height = self._scene.spec.width, self._scene.spec.height
        return box["x"] + (x + 0.5) * box["width"] / width, box["y"] + (y + 0.5) * box["height"] / height

    def place_of(self, truth_id: int) -> tuple[float, float]:
        """Where the middle of an object is on the screen."""
        point = self._scene.click_point(self.frame(), truth_id)
        assert point is not None
        return self.place(*point)

    def corners_of(self, truth_id: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """Where the corners of an object's box are on the screen."""
        x, y, w, h = self._scene.truth_box(self.frame(), truth_id)
        return self.place(x, y), self.place(x + w - 1, y + h - 1)

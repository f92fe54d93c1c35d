"""A window for pictures, if there is a display and OpenCV can open windows."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

import cv2

if TYPE_CHECKING:
    from streamseg.common.draw import Picture

_ESCAPE: Final = 27


def window_obstacle() -> str | None:
    """Return the reason why no window can be opened; None if one can."""
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no display"
    # streamseg installs the headless wheel, which has no window support; a user may have replaced it.
    found = re.search(r"^\s*GUI:\s*(\S+)", cv2.getBuildInformation(), re.MULTILINE)
    if found is None or found[1].upper() == "NONE":
        return "this OpenCV (opencv-python-headless) has no windows"
    return None


class Window:
    """One window, closed by ``q``, Escape or its close button.

    Args:
        title: Title of the window.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)

    def show(self, picture: Picture) -> bool:
        """Show a picture (RGB); return False once the user has closed the window.

        Blocks: about a millisecond.
        """
        cv2.imshow(self._title, picture[:, :, ::-1])
        return self.is_open()

    def is_open(self) -> bool:
        """Return False once the user has closed the window. Call it often, or the window freezes.

        Blocks: about a millisecond.
        """
        key = cv2.waitKey(1) & 0xFF
        return key not in (_ESCAPE, ord("q")) and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1

    def close(self) -> None:
        """Close the window."""
        cv2.destroyAllWindows()

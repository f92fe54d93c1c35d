"""From tracked frames to bytes on the wire."""

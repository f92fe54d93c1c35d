"""streamseg as a systemd service: the unit, and installing and removing it."""

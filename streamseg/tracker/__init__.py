"""The tracker: frames and prompts in, masks out. While it tracks, it does no I/O."""

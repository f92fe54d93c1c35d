"""The tracker: frames and prompts in, masks out. No I/O, no sockets, no processes."""

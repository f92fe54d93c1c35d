"""Snapshots of what is tracked, so that it survives the restart of a process."""

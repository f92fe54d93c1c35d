"""Snapshots of tracked objects, so that they survive the restart of a process."""

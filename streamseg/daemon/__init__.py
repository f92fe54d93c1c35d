"""The supervisor: starts, watches and stops the daemon's processes."""

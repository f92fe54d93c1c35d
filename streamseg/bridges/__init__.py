"""Bridges to other systems. Each is a client of a daemon, in a process of its own (``streamseg mqtt``)."""

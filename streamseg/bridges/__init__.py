"""Bridges to other systems. Each is a client of a daemon in a separate process (``streamseg mqtt``)."""

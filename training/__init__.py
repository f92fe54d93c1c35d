"""Trains streamseg-nano; see ``docs/nano.md``. Not part of the package: run it from a checkout."""

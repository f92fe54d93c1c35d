"""What the worker does around the tracker: prompts, object states, packing. The loop is ``worker/process.py``."""

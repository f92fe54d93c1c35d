"""streamseg: real-time video object segmentation as a service.

Importing this package, or :mod:`streamseg.client`, loads neither torch nor av, which consumers of masks do not need. A
test checks this.
"""

__version__ = "0.2.0.dev0"

"""streamseg: real-time video object segmentation as a service.

Importing this package, or :mod:`streamseg.client`, loads neither torch nor av: a consumer of masks needs
neither. A test holds that.
"""

__version__ = "0.2.0.dev0"

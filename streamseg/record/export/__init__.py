"""Exports recordings in the formats of annotation tools and training code: one module per format.

Ours because data set converters read whole folders in another format; a recording is read frame by frame.
"""

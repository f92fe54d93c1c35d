"""Recordings in the forms of annotation tools and training code: one module for each form.

Ours because converters of data sets read whole folders of another form; a recording is read frame by frame.
"""

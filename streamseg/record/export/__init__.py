"""Recordings in the forms of annotation tools and training code: one module for each form."""

"""Compiled functions and CUDA graphs, and how they are cached."""

"""Compiled functions and CUDA graphs, and the cache of compiled code on disk."""

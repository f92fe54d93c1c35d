"""Video clips around events (docs/howto/record.md)."""

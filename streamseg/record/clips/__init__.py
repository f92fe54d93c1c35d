"""Videos of what happened around an event (docs/howto/record.md)."""

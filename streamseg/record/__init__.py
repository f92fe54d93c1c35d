"""Recording what a daemon publishes, replaying it, and exporting it for other tools (docs/howto/record.md)."""

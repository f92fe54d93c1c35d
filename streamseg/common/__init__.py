"""Logging, redaction and drawing: what several processes use. Knows no settings."""

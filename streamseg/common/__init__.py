"""Logging, redaction and drawing, shared by several processes. Knows no settings."""

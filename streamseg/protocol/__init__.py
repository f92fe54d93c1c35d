"""The public contract (docs/protocol.md): messages, requests, topics and mask encodings."""

"""The control process: it parses requests, forwards them as commands, and replies."""

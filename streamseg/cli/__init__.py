"""The command line: one module for each command; what is heavy is imported when a command runs."""

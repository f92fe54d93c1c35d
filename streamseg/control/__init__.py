"""Parts of the control process: reading requests, what waits, what was answered. No I/O."""

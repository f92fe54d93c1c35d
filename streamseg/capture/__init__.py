"""Parts of the capture process: back-off, continuity of time, reports."""

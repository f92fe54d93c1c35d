"""The web process: the browser page and the HTTP API. It is an ordinary client of the daemon and needs no torch."""

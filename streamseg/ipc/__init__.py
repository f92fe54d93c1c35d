"""Messages and sockets between the daemon's own processes."""

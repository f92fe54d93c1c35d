"""How the daemon's own processes talk to each other."""

"""The page in the browser and the HTTP interface: a client like any other, in a process of its own. No torch."""

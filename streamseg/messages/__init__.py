"""Types that cross a process or a socket."""

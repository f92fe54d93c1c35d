"""The worker process: takes frames from the rings, runs the tracker and sends the masks to the publisher."""

"""The frame ring: passes frames from a capture process to the worker and the publisher in shared memory."""

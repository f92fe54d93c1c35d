"""The frame ring: frames between processes without a copy on the read side."""

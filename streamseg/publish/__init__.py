"""The publisher process: from tracked frames to messages for subscribers."""

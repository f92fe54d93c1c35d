"""Model names, checkpoints, and how they are fetched."""

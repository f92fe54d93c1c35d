"""Objects that are found without a prompt: when to look, what is new, and what is gone."""

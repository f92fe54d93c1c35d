"""Prompters: programs that find objects on the pictures of a stream. What a program that is one imports."""

from streamseg.prompters.proposal import Picture, Prompter, Proposal, Tracked

__all__ = ["Picture", "Prompter", "Proposal", "Tracked"]

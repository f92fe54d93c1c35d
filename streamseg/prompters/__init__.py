"""Prompters: programs that find objects on the pictures of a stream. A prompter imports its types from here."""

from streamseg.prompters.proposal import Picture, Prompter, Proposal, Tracked

__all__ = ["Picture", "Prompter", "Proposal", "Tracked"]

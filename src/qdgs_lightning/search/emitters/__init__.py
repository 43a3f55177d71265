"""Emitters: ways of proposing latents to an archive."""

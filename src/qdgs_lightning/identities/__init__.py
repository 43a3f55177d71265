"""Identities: people made of latents, their classes, their images and edits."""

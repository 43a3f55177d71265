"""Avatars: drawn faces whose identity, skin, age and hair are known."""

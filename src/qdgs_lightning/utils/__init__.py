"""Utilities without knowledge of the field: files, hashing, seeding, ranks, progress."""

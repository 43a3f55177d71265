"""Persistence of searches: archives and emitters on disk, and their resumption."""

"""Toy domains that run offline: everything of a domain lies in one folder."""

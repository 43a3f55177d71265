"""Inert pickles: pickled files read as data, without executing anything."""

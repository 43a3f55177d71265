"""Parsing: YAML files and command lines to typed options, and what is said of mistakes."""

"""Reporting: figures, tables of results, and what loggers are told."""

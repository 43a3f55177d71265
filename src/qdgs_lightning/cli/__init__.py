"""Command line: `qdgs`, its Trainer commands, and one short function for each plain command."""

from qdgs_lightning.cli.main import main

__all__ = ["main"]

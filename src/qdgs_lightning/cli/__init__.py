"""Command line: `qdgs`, its Trainer commands, and one short function for each plain command."""

"""What the command line runs: one typed function per file."""

"""Commands: one typed function a file, whose signature makes the options of `qdgs`."""

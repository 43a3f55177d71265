"""Foreign file formats, read as data."""

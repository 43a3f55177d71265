"""Tests, mirroring src/qdgs_lightning."""

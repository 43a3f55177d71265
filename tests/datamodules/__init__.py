"""Tests of the datamodules room."""

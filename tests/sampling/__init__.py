"""Tests of the sampling room."""

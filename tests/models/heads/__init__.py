"""Tests of margin heads."""

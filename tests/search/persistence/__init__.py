"""Tests of search/persistence."""

"""Tests of search/emitters."""

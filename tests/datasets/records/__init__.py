"""Tests of datasets/records."""

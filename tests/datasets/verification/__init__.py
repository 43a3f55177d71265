"""Tests of datasets/verification."""

"""Tests of metrics/verification."""

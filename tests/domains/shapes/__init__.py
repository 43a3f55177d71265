"""Tests of domains/shapes."""

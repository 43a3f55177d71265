"""Tests of the callbacks room."""

"""Tests of domains/avatars."""

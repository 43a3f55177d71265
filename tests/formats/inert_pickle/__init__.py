"""Tests of formats/inert_pickle."""

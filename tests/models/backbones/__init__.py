"""Tests of models/backbones."""

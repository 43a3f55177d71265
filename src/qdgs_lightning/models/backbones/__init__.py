"""Backbones: face images in, embeddings out; weights of several projects."""

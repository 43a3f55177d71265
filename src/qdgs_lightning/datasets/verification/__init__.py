"""Verification sets: pairs of images in ``.bin`` files, folders and RFW's layout."""

"""Export: an archive's images as a dataset, in shards, with a data card."""

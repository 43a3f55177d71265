"""RecordIO files (``train.rec``) of identities: read, indexed, written, validated."""

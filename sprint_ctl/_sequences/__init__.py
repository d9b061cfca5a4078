"""What a dataset makes of segments: the cache of sequences, targets, vocabularies."""

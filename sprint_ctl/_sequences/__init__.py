"""From segments to sequences of a dataset: cache, targets, vocabularies."""

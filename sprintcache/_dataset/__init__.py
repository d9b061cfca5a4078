"""Internals of SprintCacheDataset: readers of data keys, the corpus of segments."""

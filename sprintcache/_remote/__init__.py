"""Archives of an object store, read through a sparse local copy."""

"""Writing archives: layout, buffers, encoding, copying entries, recovery."""

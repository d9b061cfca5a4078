"""Code that runs in the trainer: the pool, its processes and their output."""

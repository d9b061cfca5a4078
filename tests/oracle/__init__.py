"""Oracles: an archive builder and a reference decoder that share no code with the package."""

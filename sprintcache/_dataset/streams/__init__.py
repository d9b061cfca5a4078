"""Streams: a module for each kind of data of a dataset; `base.Stream` is the protocol."""

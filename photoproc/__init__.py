"""Photoproc: batches of photos in, finished cutouts out, and which model made them best."""

__version__ = "0.1.0"

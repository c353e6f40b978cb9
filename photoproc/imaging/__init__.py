"""Pure functions on pictures: decode, compose, frame, encode. They run in child processes only."""

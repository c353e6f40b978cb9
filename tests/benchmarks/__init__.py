"""Measurements, side by side in one run. Not tests: machines are shared and noisy."""

"""Scaling laws: a power of the data for each size, and the joint law of parameters and data."""

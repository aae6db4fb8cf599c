"""Metrics of runs in Weights & Biases."""

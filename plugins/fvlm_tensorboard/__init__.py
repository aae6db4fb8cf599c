"""Metrics of runs in TensorBoard."""

"""Metrics of runs in Trackio."""

"""Metrics of runs in MLflow."""

"""Weights in and out of a model: made elsewhere, of earlier runs, of a run's checkpoints."""

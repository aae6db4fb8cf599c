"""The record of a run: a folder of append-only metrics, checkpoints, the recipe it came from and its summary."""

"""Scaling laws: tidy points, the shared solver, uncertainty, and what the points cannot tell."""

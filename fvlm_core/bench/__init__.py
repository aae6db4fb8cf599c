"""Benchmarks that a user can repeat: fvlm beside the bare work it stands for, in pairs."""

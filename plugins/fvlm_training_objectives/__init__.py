"""Objectives: the core's own by name, and distillation."""

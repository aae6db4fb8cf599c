"""Optimizers: the core's own AdamW by name, Muon and SGD."""

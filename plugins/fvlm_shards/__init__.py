"""Tar shards, read by offset: those that fvlm packs, and the founding project's."""

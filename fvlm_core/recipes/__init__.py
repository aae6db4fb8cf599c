"""Recipes: read (TOML), extend, override, expand into runs, and explain every error at once. Imports nothing heavy."""

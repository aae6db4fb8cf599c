"""Connectors that make a few tokens of each frame by itself: by cross-attention, merging, choice, or a convolution."""

"""The foveated connector: one token a frame, by query attention in two passes."""

"""Samples in tar shards with an index beside them: written once, read by offset, checked before training."""

"""Samples to batches: video decoding, text masks, mixtures, and the loader that resumes exactly."""

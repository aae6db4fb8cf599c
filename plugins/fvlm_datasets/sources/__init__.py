"""Rows of a data set to samples: a file each."""

"""What every room uses and none is about: errors, numbers, paths, files that are whole or absent."""

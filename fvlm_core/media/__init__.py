"""Video and picture files, and archives of them, to frames."""

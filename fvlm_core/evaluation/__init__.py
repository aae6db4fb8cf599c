"""A trained model measured on data, asked about a video, and where it looks."""

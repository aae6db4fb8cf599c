"""A page for one person's browser, on which a trained model watches a video: what it says, and where it looks."""

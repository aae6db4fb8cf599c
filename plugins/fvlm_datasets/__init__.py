"""Published data sets, read as they were published: a config and a source each, and one list of them."""

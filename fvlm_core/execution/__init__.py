"""The runs of a recipe as jobs beside each other: which may start, which start again, and what became of them."""

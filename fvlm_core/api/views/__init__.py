"""How results are shown to people: on a terminal, as text, and in a notebook."""

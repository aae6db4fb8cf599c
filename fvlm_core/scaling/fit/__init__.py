"""A law fitted to points: the solver, how sure the numbers are, and what speaks against them."""

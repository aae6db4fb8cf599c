"""Which rows of a pool of experiments to buy so that a target region is predicted best."""

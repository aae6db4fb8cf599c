"""The proof, on the user's own machine, that a killed run continues as if nothing had happened."""

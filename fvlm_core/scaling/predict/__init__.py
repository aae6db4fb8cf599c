"""What a fitted law says of runs that were not made, and which runs to make next."""

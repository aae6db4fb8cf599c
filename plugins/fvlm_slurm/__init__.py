"""Jobs of a SLURM cluster, through submitit."""

"""Learning-rate schedules: the core's own by name, and warm-up, stable, decay."""

"""Training: the loop, its schedules, its optimiser, its evaluations. A run is a pure function of its recipe."""

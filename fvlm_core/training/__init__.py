"""Training: the loop, its schedules, its optimizer, its evaluations. A run is a pure function of its recipe."""

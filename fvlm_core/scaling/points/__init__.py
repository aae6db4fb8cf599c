"""Points: read from tables and from runs, selected, and kept in one order."""

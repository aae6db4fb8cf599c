"""A pool of processes on this machine."""

"""The machine: devices, what GPUs can do at best, and how fast this one is."""

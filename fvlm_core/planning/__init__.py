"""What a recipe will cost before anything is trained: FLOPs, memory, disk, time, and what is missing."""

"""What `import fvlm` offers, and what the commands share with it: the work of each, without click and options."""

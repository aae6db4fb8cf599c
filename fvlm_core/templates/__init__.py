"""What `fvlm plugins new` writes: one folder of templates a kind, and those that all kinds share."""

"""The multi-token connector: patches averaged over a coarse grid."""

"""Campaigns: a prediction is wanted, runs are bought one round after the other until it is sure enough."""

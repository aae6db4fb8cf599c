"""Callbacks: early stopping, an exponential moving average of the weights, the mean of the last evaluations'
weights."""

"""Measures of trained networks: loss, sample quality, cost and anatomy."""

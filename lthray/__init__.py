"""Lottery tickets in diffusion models: whole pruning trajectories as Ray Tune trials, every ticket
recorded."""

__version__ = "0.1.0"

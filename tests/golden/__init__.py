"""Golden keys and results of small trials."""

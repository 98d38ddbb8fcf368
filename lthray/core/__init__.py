"""What everyone speaks of."""

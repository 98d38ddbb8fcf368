"""MLflow, a projection of the store."""

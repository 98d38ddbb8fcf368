"""What is learnt: data, models, objectives."""

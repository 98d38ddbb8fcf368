"""What is cut, and from where the rest begins again."""

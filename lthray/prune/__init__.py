"""What is cut, how a density is shared out, and from where training begins again."""

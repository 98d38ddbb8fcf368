"""Breakages of the code that decides, made by hand, each of which a named test must catch."""

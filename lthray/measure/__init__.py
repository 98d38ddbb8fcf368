"""What is left: quality and cost."""

"""What a trial may be."""

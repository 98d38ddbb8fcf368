"""Laws first, then references, then the contract of each family; one file a module."""

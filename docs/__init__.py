"""What people read; `reference` writes its part from the code."""

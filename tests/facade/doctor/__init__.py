"""The doctor's examinations."""

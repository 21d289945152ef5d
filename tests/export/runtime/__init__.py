"""Tests of what ships into the model repository."""

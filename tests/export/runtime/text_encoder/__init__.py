"""Tests of the text encoder's door."""

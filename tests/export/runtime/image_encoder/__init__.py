"""Tests of the image door."""

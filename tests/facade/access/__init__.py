"""Tests of who may call, from where, and how much."""

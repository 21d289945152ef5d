"""Tests of the toy that comes along."""

"""Clients that people already use, each run as it is installed, against the real stack."""

"""The page at ``/ui`` in a real browser, before the real stack."""

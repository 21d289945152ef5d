"""What `docs/security.md` claims, held by tests; and attacks."""

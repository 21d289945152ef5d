"""The decoder, module by module."""

"""Compressed nets as modules of their own."""

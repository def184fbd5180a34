"""Rows joined: duplicates, split, shares, assembly."""

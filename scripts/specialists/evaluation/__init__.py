"""Losses, generated turns and the gate."""

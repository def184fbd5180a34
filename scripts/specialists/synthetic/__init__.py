"""Tasks made from the owner's own code."""

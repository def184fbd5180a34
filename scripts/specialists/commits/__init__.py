"""Git history: the owner's commits as agent turns."""

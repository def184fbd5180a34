"""From histories, repositories and code to rows: no torch."""

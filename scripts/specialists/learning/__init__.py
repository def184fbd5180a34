"""From rows to an adapter and its measurement: no database, no git."""

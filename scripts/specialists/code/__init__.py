"""Source code: grammars, syntax, and edits as tool calls."""

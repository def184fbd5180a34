"""opencode's history, read faithfully: chats, languages, windows."""

"""What the steps share. Ground floor first: config, records, chat, agent, secrets, cli; see docs/architecture.md."""

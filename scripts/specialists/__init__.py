"""What the steps share. What lies here is the ground; data, learning and serving stand on it: docs/architecture.md."""

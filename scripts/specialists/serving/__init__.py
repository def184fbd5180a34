"""Versions, the gate, vLLM, opencode's configuration, the report."""

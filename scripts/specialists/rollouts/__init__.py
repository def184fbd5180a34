"""Past work done again by the agent: checkout, sandbox, run, verification."""

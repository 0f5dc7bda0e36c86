"""One invocation, from its event to its result."""

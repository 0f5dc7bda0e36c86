"""The engine: it sends invocations and settles them, on its own threads."""

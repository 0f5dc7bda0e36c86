"""Where our Lambda meets ministack's inside; nothing else but the fixes touches that."""

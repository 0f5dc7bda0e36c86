"""The walls around one execution environment, and the limits within them."""

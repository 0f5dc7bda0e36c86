"""The execution environment: its processes, variables, memory, clock and temporary folder."""

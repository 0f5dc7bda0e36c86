"""The calls to the Execution API about a task's start and end."""

"""The sections of a stage's configuration, one class each."""

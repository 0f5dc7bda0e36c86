"""The image store, and the stand-in for the docker CLI that fills it."""

"""What crosses a border: the wire, the options, the errors, and the names that two rooms share.

Standard library only. It is the only room of this package that the image, the stacks and the
constructs import.
"""

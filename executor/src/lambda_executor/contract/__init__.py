"""The wire, the options, the errors and the names that two rooms share.

Standard library only: the image, the stacks and the constructs import no other room of ours.
"""

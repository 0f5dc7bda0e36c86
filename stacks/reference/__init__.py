"""The cost page, generated from the templates of the stages."""

"""What all stacks of a stage share: names, image, functions, retention, the synthesizer."""

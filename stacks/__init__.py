"""The CDK stacks: the environment that a stage's configuration asks for."""

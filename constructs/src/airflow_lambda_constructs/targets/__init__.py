"""Where workloads run that no function can run: jobs of AWS Batch and tasks of Amazon ECS."""

"""The executor's options as a scheduler takes them: SSM parameter, env file, Helm values."""

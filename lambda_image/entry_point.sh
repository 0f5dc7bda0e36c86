#!/bin/sh
# The image's entry point. The command `job` runs one workload (lambda_image/job.py), and `microvm`
# one in a MicroVM (lambda_image/micro_vm.py). Any other command of several words is run as it is,
# such as that of the Amazon provider's executors for Batch and ECS: the name of a handler is one
# word. Everything else goes to the base image's own entry point, or to Lambda's runtime client if
# it has none. Each replaces this shell, so that signals reach it.
if [ "$1" = job ]; then
  shift
  exec python -m lambda_image.job "$@"
fi
if [ $# -eq 1 ] && [ "$1" = microvm ]; then
  exec python -m lambda_image.micro_vm
fi
if [ $# -gt 1 ]; then
  exec "$@"
fi
if [ -x /lambda-entrypoint.sh ]; then
  exec /lambda-entrypoint.sh "$@"
fi
exec python -m awslambdaric "$@"

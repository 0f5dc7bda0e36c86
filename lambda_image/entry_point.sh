#!/bin/sh
# The image's entry point. The command `job` runs one workload (lambda_image/job.py); everything
# else goes to the base image's own entry point, or to Lambda's runtime client if it has none. Each
# replaces this shell, so that signals reach it.
if [ "$1" = job ]; then
  shift
  exec python -m lambda_image.job "$@"
fi
if [ -x /lambda-entrypoint.sh ]; then
  exec /lambda-entrypoint.sh "$@"
fi
exec python -m awslambdaric "$@"

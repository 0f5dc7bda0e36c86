#!/bin/sh
# What AWS's does: https://docs.aws.amazon.com/lambda/latest/dg/images-test.html
export _HANDLER="$1"
if [ -z "${AWS_LAMBDA_RUNTIME_API}" ]; then
  exec /usr/local/bin/aws-lambda-rie /var/runtime/bootstrap
fi
exec /var/runtime/bootstrap

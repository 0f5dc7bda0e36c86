"""The connection between `lambda_service` and ministack's internals."""

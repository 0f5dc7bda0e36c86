"""An embedded AWS for development, reached only through its endpoint URL: `python -m local_aws`.

ministack serves the APIs; `lambda_service` runs Lambda functions as real `awslambdaric` processes.
"""

"""The embedded AWS for development: `python -m local_aws`, reached only through its endpoint URL.

ministack answers every API; the data plane of Lambda (real handler processes under
`awslambdaric`) is ours. Nothing here knows Airflow, the executor, the image or the stacks.
"""

"""The command `airflow lambda-executor run`: one task on this machine, as the function runs it.

It starts two programs. `airflow_side` is an Airflow of its own, with a database in a temporary
folder and an Execution API; the module `lambda_image.local_run` is the image's process.
"""

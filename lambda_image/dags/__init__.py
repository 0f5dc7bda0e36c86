"""DAG files from S3, and the imports that are preloaded for them."""

"""DAG bundles for any Airflow from 3.0; they need nothing else of this package's executor."""

from lambda_executor.bundles.s3_manifest import S3ManifestBundle as S3ManifestBundle

"""The engine: it sends invocations and settles them, on threads of its own.

It knows neither Airflow nor boto3.
"""

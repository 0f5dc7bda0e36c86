"""One invocation from its event to its result; it knows neither Airflow nor the machine."""

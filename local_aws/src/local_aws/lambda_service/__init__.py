"""Lambda's behaviour: environments, scaling, the async queue, destinations, logs."""

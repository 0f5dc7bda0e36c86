"""Lambda's semantics: environments, their scaling, the async queue, destinations."""

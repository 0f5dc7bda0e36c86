"""What runs workloads: functions, queues, buckets and their key."""

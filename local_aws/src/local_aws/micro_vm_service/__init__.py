"""MicroVMs of AWS Lambda: their images, their life and their metadata, without the records."""

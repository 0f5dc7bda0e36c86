"""Programs on this machine: processes, the database, the embedded AWS, the stand-in image."""

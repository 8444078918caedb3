"""Writing into the registry by a Job of its own."""

"""Dagster itself on the cluster: its own image, its own database, its runs as Jobs, delivering to the same cluster."""

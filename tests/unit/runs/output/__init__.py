"""What runs print."""

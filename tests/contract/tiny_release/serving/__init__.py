"""A release small enough to start in a moment: it keeps the serving contract, but has no model."""

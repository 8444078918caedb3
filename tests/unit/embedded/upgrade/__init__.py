"""A stack that another version left."""

"""Where images are built and kept: one interface, one file a kind of store."""

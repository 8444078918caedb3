"""Where releases run: one interface, one file a kind of place."""

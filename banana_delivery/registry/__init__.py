"""Where model versions come from: one interface, one file a kind of registry."""

"""Two versions of this package take turns with one home, while deliveries are under way and users ask."""

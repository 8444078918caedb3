"""The embedded stack: everything that a delivery needs, as processes of one user on one machine."""

"""One suite for each interface, which its fake and every real implementation pass alike."""

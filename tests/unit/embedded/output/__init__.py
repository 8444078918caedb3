"""What a run prints, kept within bounds while it goes on."""

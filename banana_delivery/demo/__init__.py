"""The demonstration: real models travel through the embedded stack while clients keep asking."""

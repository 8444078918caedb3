"""The HTTP interface, one file for what predicts and one for what reports."""

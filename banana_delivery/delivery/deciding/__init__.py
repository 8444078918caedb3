"""What people decide, wherever they do it: on record, signed, with who they are as far as anybody knows.

What belongs here puts a decision on record. Not: what follows from it (``policy.gate``), nor how a person types it.
"""

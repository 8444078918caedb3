"""What a delivery judges by beside the counters of its traffic, and what it keeps of all that it looked at.

Belongs here: thin adapters between the loop of a release and the rules. Not: the rules themselves (``policy``).
"""

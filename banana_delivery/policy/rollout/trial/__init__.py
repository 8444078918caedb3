"""What a candidate is tried by once its users were taken away: is the version to blame, or the moment, or its clients?

Belongs here: what the probe, and then a few seconds with users, say about it. Not: what takes the users away
(``analysis``, ``decision``).
"""

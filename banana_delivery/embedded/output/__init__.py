"""What a run prints while it goes on: the file that it has for itself, and the bounds of all that it prints into.

Belongs here: what the process of a run does for that. Not: the logs of other processes, which supervisord turns over.
"""

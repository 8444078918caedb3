"""What another version of this package, or of what it runs, means for a stack that is there already.

Belongs here: which version wrote something, and how it becomes what this one reads. Not: how processes are started.
"""

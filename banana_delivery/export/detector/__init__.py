"""A checkpoint as ultralytics sees it; imported only in the subprocess that may load it.

Belongs here: loading, what makes a checkpoint undeliverable, its own answers. Not: judging its bytes (``archive``).
"""

"""A delivery as the spans of a trace.

Belongs here: which spans there are, when, and what stands at them. Not: how and to whom they are sent.
"""

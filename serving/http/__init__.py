"""The HTTP interface: the routes that predict and report, what they accept and how they answer.

Belongs here: requests, uploads, envelopes, schemas, pages. Not: running the model (``inference``), nor storing what it
said (``prediction_log``).
"""

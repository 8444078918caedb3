"""Telling a collector of OpenTelemetry what happened.

Belongs here: the protocol, and that nobody waits for it. Not: what there is to tell, which `policy.tracing` knows.
"""

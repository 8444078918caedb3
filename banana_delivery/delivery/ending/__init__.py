"""How a delivery that somebody asked for goes on and ends, for whoever waits: a person or a CI server.

What belongs here asks Dagster's pages and prints. Not: deciding anything about a delivery, which goes on without it.
"""

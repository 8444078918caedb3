"""The embedded stack's router, Traefik.

Belongs here: the files that split its traffic, and the reading of its counters. Not: its process, nor any replica.
"""

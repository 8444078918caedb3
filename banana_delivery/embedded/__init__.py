"""The embedded stack: releases and all that belongs to them as processes of one machine.

Belongs here: supervisord, Traefik, replicas, their files, and the release target made of them. Not: what a cluster
needs; nor Docker, nor root.
"""

"""Observing: what a monitoring system is told of the pipeline itself.

Belongs here: what is measured, how it is kept between two processes, and Prometheus' text of it. Not: what replicas say
of themselves (``serving.metrics``), and whom people are told by (``banana_delivery.notifications``).
"""

"""Upkeep: what a home keeps of old deliveries, and whether there is room for the next one.

Belongs here: which files of ours go and when people are told of a disk that fills. Not: images, which their stores
keep; the audit trail, of which nothing ever goes.
"""

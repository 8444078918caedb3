"""Labelled synthetic leaves and the sample models, for trying the pipeline without data of one's own.

Belongs here: the generator and where the samples lie. Not: training them (``examples/``), nor anything that judges a
model.
"""

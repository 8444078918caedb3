"""Labelled images by stages: a comparison that fails on a few of them asks about no more.

Here: after how many it is looked at, what each look may get wrong, and answers to some of the images. Not: what is
compared.
"""

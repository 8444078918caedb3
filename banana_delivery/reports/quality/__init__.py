"""What a report shows of a comparison of quality beside its figures.

Belongs here: pictures of labelled images. Not: the figures as tables and plots, which stand one folder above.
"""

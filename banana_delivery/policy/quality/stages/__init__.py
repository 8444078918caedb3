"""Labelled images by stages: a comparison that fails on a few of them asks about no more.

Here: after how many it is looked at, what each look and each gate that watches may get wrong, which losses are found
then, and answers to some of the images. Not: what is compared.
"""

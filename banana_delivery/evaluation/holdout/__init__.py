"""Labelled images that people have: a YOLO dataset, COCO JSON or our own form, read whole and checked before use.

Belongs here: forms of labels, the pictures beside them, and what is wrong with them. Not: asking a release about them
(``evaluation.answers``).
"""

"""How good a model is on labelled images, alone and beside production's.

Belongs here: matching of boxes, average precision, the comparison and the record made of it. Not: asking a model
(``evaluation``).
"""

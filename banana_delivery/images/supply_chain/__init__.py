"""What is told of an image beside its layers: what it is made of, who signed it, how it was built and judged.

Belongs here: the documents, their signatures, and the form in which cosign and registries keep them. Not: when they are
made or asked for (``delivery``), nor where they lie (the stores).
"""

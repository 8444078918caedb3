"""Release images written straight into a registry, without an engine.

Belongs here: putting an image together from its runtime image and its own layers, and running it where nothing runs
containers. Not: the registry's API (``images.oci_registry``).
"""

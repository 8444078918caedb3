"""Images built by a Docker engine and pushed to a registry.

Belongs here: the engine's client, contexts, credentials and what its errors mean; nothing else imports ``docker``. Not:
the registry's own API (``images.oci_registry``).
"""

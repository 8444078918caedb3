"""Runtime images put together without an engine: a base image, and a layer of the lock's wheels unpacked.

Belongs here: what the base can run, getting the wheels, laying them out as an installation. No code of the base or of a
package is run. Not: releases (``images.direct``), the registry's API (``images.oci_registry``).
"""

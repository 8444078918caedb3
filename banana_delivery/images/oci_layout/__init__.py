"""Images as an OCI image layout on disk, which needs no engine and no registry.

Belongs here: blobs, index, manifests, unpacking, and removal in this layout. Not: which images may go
(``images.retention``).
"""

"""The export on a cluster, in a pod of its own that has no token, no secret and no way out.

Here: making that Job and waiting for it, and its own program. Elsewhere: what is exported and how (``export``), and how
the processes within it are confined (``jail``).
"""

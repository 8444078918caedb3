"""The form of the database in which Dagster's instance on a cluster keeps what it knows, and who changes it, when.

Belongs here: bringing it forward, and waiting until that is done. Not: the embedded stack's files (``embedded.upgrade``),
and no table of ours: the replicas' prediction log is brought forward by the replicas.
"""

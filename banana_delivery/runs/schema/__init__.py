"""The form of the database in which Dagster's instance on a cluster keeps what it knows, and who changes it, when.

Belongs here: bringing it forward, and waiting until that is done and it answers. Not: the files of the embedded stack
(``embedded.upgrade``), and no table of ours: the replicas bring their prediction log forward themselves.
"""

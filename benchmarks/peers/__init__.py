"""The same model behind other servers, each written as that server's own documentation shows.

They run in an environment of their own (requirements/bench-serving.txt) and read the checkpoint's path from CHECKPOINT.
"""

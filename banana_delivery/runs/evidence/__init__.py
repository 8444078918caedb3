"""Whose word a record is: the keys that sign records, their signatures, and the adoption of records without one.

Not here: what a record says (policy), and which of them are asked for (the audit trail).
"""

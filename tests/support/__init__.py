"""What several suites share: the pipeline in memory, its clock, phases, stored records, a cluster's objects."""

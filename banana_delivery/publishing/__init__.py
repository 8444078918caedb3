"""Writing into the image registry by a Job of its own, whose login and key the delivery does not have.

Here: what a delivery orders, what it gets back, and the store of images that reads for itself and has the rest written.
Elsewhere: the program of the Job (``delivery.signing.publisher``), and how Jobs are made (``targets.kubernetes.jobs``).
"""

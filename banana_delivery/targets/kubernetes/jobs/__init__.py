"""Jobs in the delivery's own namespace, for work that has to have other rights than the delivery.

Here: making one from a PodTemplate, giving it a folder, and waiting for its end. Elsewhere: what it does.
"""

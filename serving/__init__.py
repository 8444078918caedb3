"""The serving application: an ONNX detector behind HTTP.

It runs inside the release image and as a local replica. What belongs here is what answering needs: the application, its
server and settings, ``http``, ``inference``, ``prediction_log``. Not: the delivery pipeline, Dagster, PyTorch or
ultralytics; what a farmer's phone talks to carries nothing that only building a release needs (tested).
"""

import os

# ONNX Runtime reads it when it is loaded. It would report its use from every replica, and keep a database for that in
# the home folder.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

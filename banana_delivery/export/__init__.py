"""From ``best.pt`` to ``model.onnx``: scan, export in a confined process, proof that both answer alike.

Belongs here: everything that touches a checkpoint; nothing else imports ``torch`` or ``ultralytics``. Not: downloading
it (``model_registry``), nor images.
"""

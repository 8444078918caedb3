"""Serving on a real NVIDIA GPU: `make test-gpu`, outside of CI.

They need an amd64 machine with a GPU that nobody else uses, a driver for CUDA 13 (580 or newer), and about 4 GB of disk
for the packages of requirements/serving-gpu.txt. `GPU_MODELS` names folders with model.onnx and version.json, divided
by colons, for a machine without ultralytics; else the sample model is exported with both of its heads.
"""

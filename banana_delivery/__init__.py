"""Takes a YOLO detector from MLflow "Staging" to all of production's traffic, or safely back."""

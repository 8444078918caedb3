"""From a training checkpoint nobody trusts to an ONNX file that is proven to answer alike."""

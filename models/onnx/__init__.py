"""The computations of the stages as ONNX graphs, built from the model files in a few milliseconds."""

"""TensorRT: plans of image encoders, and the encoder that runs one."""

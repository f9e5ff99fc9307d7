"""What other programs send and receive: JSON documents, tensors, and the engine's keywords as data."""

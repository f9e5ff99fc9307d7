"""TensorRT plans of bundles; they are built where they will run, so this needs no torch."""

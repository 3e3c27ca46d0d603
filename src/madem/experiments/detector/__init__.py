"""A detector that keeps learning beside the beam: strategies against drift, on the same frames."""

"""Which rule learns with which imperfection of its chips, and which does not."""

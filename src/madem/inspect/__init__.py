"""One saved network on the bench: its gradient, its circuit, its arrays."""

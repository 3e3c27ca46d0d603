"""What configs are made of: quantities with units, how values are checked, names."""

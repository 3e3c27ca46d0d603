"""One network that learns one task: any network, machine, rule and data of the config."""

"""Monte Carlo over chips: yield, recovery after damage, forgetting under measurement bias."""

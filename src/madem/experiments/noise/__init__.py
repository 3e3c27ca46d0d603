"""Does temporal noise regularise? Finite training sets, learned under differing read noise."""

"""A chip trained on everybody's Braille keeps learning one writer's hand, and forgets no other."""

"""How alike two representations of the same frames are: layers of one model, or of several."""

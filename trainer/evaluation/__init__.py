"""How well codes retrieve: of a model on labelled pictures, and of a live catalogue."""

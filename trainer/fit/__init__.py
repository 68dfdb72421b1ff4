"""A model fitted to a catalogue without labels: a backbone as it is, and codes in closed form."""

"""How well a model finds what captions say: figures, intervals and tests."""

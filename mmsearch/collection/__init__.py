"""One collection as a whole."""

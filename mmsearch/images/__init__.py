"""From the bytes of a file to an encoder's pixels, within bounds of time and memory."""

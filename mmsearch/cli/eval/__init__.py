"""The parts of `mmsearch eval`."""

"""The parts of `mmsearch query`: options, the question, outputs, actions."""

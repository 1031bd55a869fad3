"""What a user asks, from words to one frozen record."""

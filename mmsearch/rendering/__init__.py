"""Results as text, pages and pictures. Nothing is printed here."""

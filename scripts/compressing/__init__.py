"""A trained dense adapter compressed: once, and at each rank of each format with what becomes of its score."""

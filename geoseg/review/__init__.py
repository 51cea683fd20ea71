"""Pages that explain a result: what came out, how sure it is, where it is wrong, and what it was made of."""

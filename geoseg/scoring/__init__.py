"""From files to scores: what is read, laid over each other, counted block by block, and drawn where wrong."""

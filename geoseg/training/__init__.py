"""A run: its folder, its epochs, its validation, and how it goes on after having been stopped."""

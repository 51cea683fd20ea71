"""What can be wrong with scenes, labels and chips before anything is trained on them."""

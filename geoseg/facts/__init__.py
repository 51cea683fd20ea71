"""What files and folders are, in plain values: for people who look at them and programs that ask."""

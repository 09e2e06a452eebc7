"""Files wherever they are: where an argument points, what is in a packed or foreign file, the images a list names."""

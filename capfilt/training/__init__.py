"""Training: recipe -> task -> data -> loop -> checkpoint."""

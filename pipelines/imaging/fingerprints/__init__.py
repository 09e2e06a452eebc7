"""Small numbers that are near each other for images that look alike, whatever their size or compression."""

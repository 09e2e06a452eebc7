"""From bytes and values to clean texts: encodings, shapes of captions, hygiene."""

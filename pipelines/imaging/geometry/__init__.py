"""Where things of an image come to lie: its pixels in the sizes that models want, and boxes."""

"""Colors of plain images, by the word for each."""

COLORS = {
    "red": (200, 30, 30),
    "green": (30, 160, 30),
    "blue": (30, 30, 200),
    "white": (240, 240, 240),
    "black": (15, 15, 15),
    "yellow": (220, 220, 40),
    "purple": (130, 30, 130),
    "gray": (128, 128, 128),
}

"""Questions about the images of the world, each with its one right answer, for visual question answering."""

from capfilt.demo.world.scene import Scene

COUNTS = ("no", "one", "two")


def questions(scene: Scene) -> list[tuple[str, str]]:
    """All that is asked of a scene: its ground, how many things there are, and of each shape that is there once."""
    asked = [
        ("what color is the background", scene.background),
        ("how many things are there", COUNTS[len(scene.things)]),
    ]
    shapes = [thing.shape for thing in scene.things]
    for thing in scene.things:
        if shapes.count(thing.shape) == 1:
            asked += [
                (f"what color is the {thing.shape}", thing.color),
                (f"how large is the {thing.shape}", thing.size),
            ]
    return asked

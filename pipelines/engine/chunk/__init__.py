"""A chunk on its way: the row it is, the stages it goes through, what comes out of it. No engine, no Ray."""

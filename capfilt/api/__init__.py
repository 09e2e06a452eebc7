"""What `import capfilt` gives: the command line's twin for notebooks and programs."""

"""Who is asked to annotate a run, and the checks before its layer is begun."""

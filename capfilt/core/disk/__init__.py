"""Files and directories of a local disk, whole after a kill or a power loss. The standard library alone."""

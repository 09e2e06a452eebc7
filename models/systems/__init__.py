"""Systems that can be trained, a folder each; `registry.py` lists them, `models/training/system.py` defines one."""

"""What all commands share: lines and tables on a terminal, errors as one line and an exit code, options."""

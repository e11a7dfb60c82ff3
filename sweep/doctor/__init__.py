"""Does this machine have what a study needs? Each check that fails names the command that mends it."""

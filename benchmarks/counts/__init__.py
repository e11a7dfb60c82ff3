"""How many are wrong, over more than a test has the time for? Commands for by hand, of which tests take samples."""

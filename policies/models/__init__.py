"""Models: a typed config that says what network to build, and the network, one family a file."""

"""Does looking closer pay? README.md here lists the programs, docs/experiments.md the answers."""

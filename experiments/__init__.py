"""Does looking closer pay? README.md here lists the programs, docs/findings/ the answers."""

"""The subcommands, one file each; `leafzoom.cli` lists them and imports one when it is called."""

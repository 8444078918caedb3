"""Pure decisions. Nothing here reads a clock, a disk, a network or a framework: facts come in, decisions go out."""

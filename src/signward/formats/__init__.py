"""One file per signable format; a file in this folder is its registration."""

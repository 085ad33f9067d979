"""The transparency log: entries, tree, tiles, checkpoints, proofs (RFC 6962, C2SP)."""

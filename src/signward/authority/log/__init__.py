"""The transparency log: RFC 6962 trees as C2SP tlog-tiles, signed checkpoints and proofs."""

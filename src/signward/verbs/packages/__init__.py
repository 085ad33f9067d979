"""Who vouches for a file of a system: packages, and the signed lists that name them."""

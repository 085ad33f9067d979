"""Fetching what a certificate names: issuers, CRLs, OCSP answers.  The only sockets here."""

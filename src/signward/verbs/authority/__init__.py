"""What an authority does: issue, revoke, answer, stamp, sign, log; one module a deed."""

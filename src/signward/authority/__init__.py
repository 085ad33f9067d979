"""What an authority writes: certificates, CRLs, OCSP answers, timestamps, log, feed.

Pure functions: no clock, no key, no database.  What is to be signed is returned as a draft
(``envelopes.Draft``); a verb has it signed and seals it.
"""

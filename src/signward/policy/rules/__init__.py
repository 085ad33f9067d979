"""The rule language: what a person writes once, read, merged, matched, decided and explained.

::

    TOML -> Document -> RuleSet (base and supplements) -> in force at an instant -> Index
    Record, audit event -> Subject ----------------------------------------------> Decision
"""

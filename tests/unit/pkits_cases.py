"""NIST PKITS (Public Key Interoperability Test Suite 1.0.1): what each test expects.

Transcribed from the PKITS document, sections 4.1 to 4.16.  The data come from the
PyPI package ``cryptography-vectors`` (``x509/PKITS_data``): one trust anchor, 405
certificates, 173 CRLs.  A test of the document with several sets of inputs is one
case per set, ``4.8.1/2`` being the second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from signward.trust.path import ANY_POLICY, DEFAULT_RULES, PathRules

P1, P2, P3 = (f"2.16.840.1.101.3.2.1.48.{number}" for number in (1, 2, 3))
P6 = "2.16.840.1.101.3.2.1.48.6"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test: ``leaf`` is a file name without ``.crt``; ``rules`` its inputs."""

    number: str
    leaf: str
    valid: bool
    rules: PathRules = DEFAULT_RULES
    crl: bool = False
    """Whether only a CRL can tell (the path itself is in order)."""


def _with(*policies: str, explicit: bool = False) -> PathRules:
    wanted = frozenset(policies or (ANY_POLICY,))
    return PathRules(initial_policies=wanted, require_explicit_policy=explicit)


def _inhibit_mapping(*policies: str) -> PathRules:
    wanted = frozenset(policies or (ANY_POLICY,))
    return PathRules(initial_policies=wanted, inhibit_policy_mapping=True)


_PLAIN = {
    "4.1": [
        "ValidCertificatePathTest1EE",
        "InvalidCASignatureTest2EE",
        "InvalidEESignatureTest3EE",
        "ValidDSASignaturesTest4EE",
        "ValidDSAParameterInheritanceTest5EE",
        "InvalidDSASignatureTest6EE",
    ],
    "4.2": [
        "InvalidCAnotBeforeDateTest1EE",
        "InvalidEEnotBeforeDateTest2EE",
        "Validpre2000UTCnotBeforeDateTest3EE",
        "ValidGeneralizedTimenotBeforeDateTest4EE",
        "InvalidCAnotAfterDateTest5EE",
        "InvalidEEnotAfterDateTest6EE",
        "Invalidpre2000UTCEEnotAfterDateTest7EE",
        "ValidGeneralizedTimenotAfterDateTest8EE",
    ],
    "4.3": [
        "InvalidNameChainingTest1EE",
        "InvalidNameChainingOrderTest2EE",
        "ValidNameChainingWhitespaceTest3EE",
        "ValidNameChainingWhitespaceTest4EE",
        "ValidNameChainingCapitalizationTest5EE",
        "ValidNameUIDsTest6EE",
        "ValidRFC3280MandatoryAttributeTypesTest7EE",
        "ValidRFC3280OptionalAttributeTypesTest8EE",
        "ValidUTF8StringEncodedNamesTest9EE",
        "ValidRolloverfromPrintableStringtoUTF8StringTest10EE",
        "ValidUTF8StringCaseInsensitiveMatchTest11EE",
    ],
    "4.4": [
        "InvalidMissingCRLTest1EE",
        "InvalidRevokedCATest2EE",
        "InvalidRevokedEETest3EE",
        "InvalidBadCRLSignatureTest4EE",
        "InvalidBadCRLIssuerNameTest5EE",
        "InvalidWrongCRLTest6EE",
        "ValidTwoCRLsTest7EE",
        "InvalidUnknownCRLEntryExtensionTest8EE",
        "InvalidUnknownCRLExtensionTest9EE",
        "InvalidUnknownCRLExtensionTest10EE",
        "InvalidOldCRLnextUpdateTest11EE",
        "Invalidpre2000CRLnextUpdateTest12EE",
        "ValidGeneralizedTimeCRLnextUpdateTest13EE",
        "ValidNegativeSerialNumberTest14EE",
        "InvalidNegativeSerialNumberTest15EE",
        "ValidLongSerialNumberTest16EE",
        "ValidLongSerialNumberTest17EE",
        "InvalidLongSerialNumberTest18EE",
        "ValidSeparateCertificateandCRLKeysTest19EE",
        "InvalidSeparateCertificateandCRLKeysTest20EE",
        "InvalidSeparateCertificateandCRLKeysTest21EE",
    ],
    "4.5": [
        "ValidBasicSelfIssuedOldWithNewTest1EE",
        "InvalidBasicSelfIssuedOldWithNewTest2EE",
        "ValidBasicSelfIssuedNewWithOldTest3EE",
        "ValidBasicSelfIssuedNewWithOldTest4EE",
        "InvalidBasicSelfIssuedNewWithOldTest5EE",
        "ValidBasicSelfIssuedCRLSigningKeyTest6EE",
        "InvalidBasicSelfIssuedCRLSigningKeyTest7EE",
        "InvalidBasicSelfIssuedCRLSigningKeyTest8EE",
    ],
    "4.6": [
        "InvalidMissingbasicConstraintsTest1EE",
        "InvalidcAFalseTest2EE",
        "InvalidcAFalseTest3EE",
        "ValidbasicConstraintsNotCriticalTest4EE",
        "InvalidpathLenConstraintTest5EE",
        "InvalidpathLenConstraintTest6EE",
        "ValidpathLenConstraintTest7EE",
        "ValidpathLenConstraintTest8EE",
        "InvalidpathLenConstraintTest9EE",
        "InvalidpathLenConstraintTest10EE",
        "InvalidpathLenConstraintTest11EE",
        "InvalidpathLenConstraintTest12EE",
        "ValidpathLenConstraintTest13EE",
        "ValidpathLenConstraintTest14EE",
        "ValidSelfIssuedpathLenConstraintTest15EE",
        "InvalidSelfIssuedpathLenConstraintTest16EE",
        "ValidSelfIssuedpathLenConstraintTest17EE",
    ],
    "4.7": [
        "InvalidkeyUsageCriticalkeyCertSignFalseTest1EE",
        "InvalidkeyUsageNotCriticalkeyCertSignFalseTest2EE",
        "ValidkeyUsageNotCriticalTest3EE",
        "InvalidkeyUsageCriticalcRLSignFalseTest4EE",
        "InvalidkeyUsageNotCriticalcRLSignFalseTest5EE",
    ],
    "4.9": [
        "ValidrequireExplicitPolicyTest1EE",
        "ValidrequireExplicitPolicyTest2EE",
        "InvalidrequireExplicitPolicyTest3EE",
        "ValidrequireExplicitPolicyTest4EE",
        "InvalidrequireExplicitPolicyTest5EE",
        "ValidSelfIssuedrequireExplicitPolicyTest6EE",
        "InvalidSelfIssuedrequireExplicitPolicyTest7EE",
        "InvalidSelfIssuedrequireExplicitPolicyTest8EE",
    ],
    "4.11": [
        "InvalidinhibitPolicyMappingTest1EE",
        "ValidinhibitPolicyMappingTest2EE",
        "InvalidinhibitPolicyMappingTest3EE",
        "ValidinhibitPolicyMappingTest4EE",
        "InvalidinhibitPolicyMappingTest5EE",
        "InvalidinhibitPolicyMappingTest6EE",
        "ValidSelfIssuedinhibitPolicyMappingTest7EE",
        "InvalidSelfIssuedinhibitPolicyMappingTest8EE",
        "InvalidSelfIssuedinhibitPolicyMappingTest9EE",
        "InvalidSelfIssuedinhibitPolicyMappingTest10EE",
        "InvalidSelfIssuedinhibitPolicyMappingTest11EE",
    ],
    "4.13": [
        "ValidDNnameConstraintsTest1EE",
        "InvalidDNnameConstraintsTest2EE",
        "InvalidDNnameConstraintsTest3EE",
        "ValidDNnameConstraintsTest4EE",
        "ValidDNnameConstraintsTest5EE",
        "ValidDNnameConstraintsTest6EE",
        "InvalidDNnameConstraintsTest7EE",
        "InvalidDNnameConstraintsTest8EE",
        "InvalidDNnameConstraintsTest9EE",
        "InvalidDNnameConstraintsTest10EE",
        "ValidDNnameConstraintsTest11EE",
        "InvalidDNnameConstraintsTest12EE",
        "InvalidDNnameConstraintsTest13EE",
        "ValidDNnameConstraintsTest14EE",
        "InvalidDNnameConstraintsTest15EE",
        "InvalidDNnameConstraintsTest16EE",
        "InvalidDNnameConstraintsTest17EE",
        "ValidDNnameConstraintsTest18EE",
        "ValidDNnameConstraintsTest19EE",
        "InvalidDNnameConstraintsTest20EE",
        "ValidRFC822nameConstraintsTest21EE",
        "InvalidRFC822nameConstraintsTest22EE",
        "ValidRFC822nameConstraintsTest23EE",
        "InvalidRFC822nameConstraintsTest24EE",
        "ValidRFC822nameConstraintsTest25EE",
        "InvalidRFC822nameConstraintsTest26EE",
        "ValidDNandRFC822nameConstraintsTest27EE",
        "InvalidDNandRFC822nameConstraintsTest28EE",
        "InvalidDNandRFC822nameConstraintsTest29EE",
        "ValidDNSnameConstraintsTest30EE",
        "InvalidDNSnameConstraintsTest31EE",
        "ValidDNSnameConstraintsTest32EE",
        "InvalidDNSnameConstraintsTest33EE",
        "ValidURInameConstraintsTest34EE",
        "InvalidURInameConstraintsTest35EE",
        "ValidURInameConstraintsTest36EE",
        "InvalidURInameConstraintsTest37EE",
        "InvalidDNSnameConstraintsTest38EE",
    ],
    "4.14": [
        "ValiddistributionPointTest1EE",
        "InvaliddistributionPointTest2EE",
        "InvaliddistributionPointTest3EE",
        "ValiddistributionPointTest4EE",
        "ValiddistributionPointTest5EE",
        "InvaliddistributionPointTest6EE",
        "ValiddistributionPointTest7EE",
        "InvaliddistributionPointTest8EE",
        "InvaliddistributionPointTest9EE",
        "ValidNoissuingDistributionPointTest10EE",
        "InvalidonlyContainsUserCertsTest11EE",
        "InvalidonlyContainsCACertsTest12EE",
        "ValidonlyContainsCACertsTest13EE",
        "InvalidonlyContainsAttributeCertsTest14EE",
        "InvalidonlySomeReasonsTest15EE",
        "InvalidonlySomeReasonsTest16EE",
        "InvalidonlySomeReasonsTest17EE",
        "ValidonlySomeReasonsTest18EE",
        "ValidonlySomeReasonsTest19EE",
        "InvalidonlySomeReasonsTest20EE",
        "InvalidonlySomeReasonsTest21EE",
        "ValidIDPwithindirectCRLTest22EE",
        "InvalidIDPwithindirectCRLTest23EE",
        "ValidIDPwithindirectCRLTest24EE",
        "ValidIDPwithindirectCRLTest25EE",
        "InvalidIDPwithindirectCRLTest26EE",
        "InvalidcRLIssuerTest27EE",
        "ValidcRLIssuerTest28EE",
        "ValidcRLIssuerTest29EE",
        "ValidcRLIssuerTest30EE",
        "InvalidcRLIssuerTest31EE",
        "InvalidcRLIssuerTest32EE",
        "ValidcRLIssuerTest33EE",
        "InvalidcRLIssuerTest34EE",
        "InvalidcRLIssuerTest35EE",
    ],
    "4.15": [
        "InvaliddeltaCRLIndicatorNoBaseTest1EE",
        "ValiddeltaCRLTest2EE",
        "InvaliddeltaCRLTest3EE",
        "InvaliddeltaCRLTest4EE",
        "ValiddeltaCRLTest5EE",
        "InvaliddeltaCRLTest6EE",
        "ValiddeltaCRLTest7EE",
        "ValiddeltaCRLTest8EE",
        "InvaliddeltaCRLTest9EE",
        "InvaliddeltaCRLTest10EE",
    ],
    "4.16": [
        "ValidUnknownNotCriticalCertificateExtensionTest1EE",
        "InvalidUnknownCriticalCertificateExtensionTest2EE",
    ],
}
"""Tests with the default inputs; the document's name begins with its expectation."""

_CRL_DECIDES = frozenset(
    {f"4.4.{n}" for n in range(1, 22)}
    | {"4.5.2", "4.5.5", "4.5.7", "4.5.8", "4.7.4", "4.7.5"}
    | {f"4.14.{n}" for n in range(1, 36)}
    | {f"4.15.{n}" for n in range(1, 11)}
)

_INHIBIT_ANY = PathRules(inhibit_any_policy=True)

_POLICIES: list[tuple[str, str, list[tuple[PathRules, bool]]]] = [
    (
        "4.8.1",
        "ValidCertificatePathTest1EE",
        [
            (_with(explicit=True), True),
            (_with(P1, explicit=True), True),
            (_with(P2, explicit=True), False),
            (_with(P1, P2, explicit=True), True),
        ],
    ),
    (
        "4.8.2",
        "AllCertificatesNoPoliciesTest2EE",
        [(DEFAULT_RULES, True), (_with(explicit=True), False)],
    ),
    (
        "4.8.3",
        "DifferentPoliciesTest3EE",
        [
            (DEFAULT_RULES, True),
            (_with(explicit=True), False),
            (_with(P1, P2, explicit=True), False),
        ],
    ),
    ("4.8.4", "DifferentPoliciesTest4EE", [(DEFAULT_RULES, False)]),
    ("4.8.5", "DifferentPoliciesTest5EE", [(DEFAULT_RULES, False)]),
    (
        "4.8.6",
        "OverlappingPoliciesTest6EE",
        [(DEFAULT_RULES, True), (_with(P1), True), (_with(P2), False)],
    ),
    ("4.8.7", "DifferentPoliciesTest7EE", [(DEFAULT_RULES, False)]),
    ("4.8.8", "DifferentPoliciesTest8EE", [(DEFAULT_RULES, False)]),
    ("4.8.9", "DifferentPoliciesTest9EE", [(DEFAULT_RULES, False)]),
    (
        "4.8.10",
        "AllCertificatesSamePoliciesTest10EE",
        [(DEFAULT_RULES, True), (_with(P1), True), (_with(P2), True)],
    ),
    (
        "4.8.11",
        "AllCertificatesanyPolicyTest11EE",
        [(DEFAULT_RULES, True), (_with(P1), True)],
    ),
    ("4.8.12", "DifferentPoliciesTest12EE", [(DEFAULT_RULES, False)]),
    (
        "4.8.13",
        "AllCertificatesSamePoliciesTest13EE",
        [(_with(P1), True), (_with(P2), True), (_with(P3), True)],
    ),
    ("4.8.14", "AnyPolicyTest14EE", [(_with(P1), True), (_with(P2), False)]),
    ("4.8.15", "UserNoticeQualifierTest15EE", [(DEFAULT_RULES, True)]),
    ("4.8.16", "UserNoticeQualifierTest16EE", [(DEFAULT_RULES, True)]),
    ("4.8.17", "UserNoticeQualifierTest17EE", [(DEFAULT_RULES, True)]),
    ("4.8.18", "UserNoticeQualifierTest18EE", [(_with(P1), True), (_with(P2), True)]),
    ("4.8.19", "UserNoticeQualifierTest19EE", [(DEFAULT_RULES, True)]),
    ("4.8.20", "CPSPointerQualifierTest20EE", [(DEFAULT_RULES, True)]),
    (
        "4.10.1",
        "ValidPolicyMappingTest1EE",
        [(_with(P1), True), (_with(P2), False), (_inhibit_mapping(P1), False)],
    ),
    (
        "4.10.2",
        "InvalidPolicyMappingTest2EE",
        [(DEFAULT_RULES, False), (_inhibit_mapping(), False)],
    ),
    ("4.10.3", "ValidPolicyMappingTest3EE", [(_with(P1), False), (_with(P2), True)]),
    ("4.10.4", "InvalidPolicyMappingTest4EE", [(DEFAULT_RULES, False)]),
    ("4.10.5", "ValidPolicyMappingTest5EE", [(_with(P1), True), (_with(P6), False)]),
    ("4.10.6", "ValidPolicyMappingTest6EE", [(_with(P1), True), (_with(P6), False)]),
    ("4.10.7", "InvalidMappingFromanyPolicyTest7EE", [(DEFAULT_RULES, False)]),
    ("4.10.8", "InvalidMappingToanyPolicyTest8EE", [(DEFAULT_RULES, False)]),
    ("4.10.9", "ValidPolicyMappingTest9EE", [(DEFAULT_RULES, True)]),
    ("4.10.10", "InvalidPolicyMappingTest10EE", [(DEFAULT_RULES, False)]),
    ("4.10.11", "ValidPolicyMappingTest11EE", [(DEFAULT_RULES, True)]),
    ("4.10.12", "ValidPolicyMappingTest12EE", [(_with(P1), True), (_with(P2), True)]),
    ("4.10.13", "ValidPolicyMappingTest13EE", [(DEFAULT_RULES, True)]),
    ("4.10.14", "ValidPolicyMappingTest14EE", [(DEFAULT_RULES, True)]),
    ("4.12.1", "InvalidinhibitAnyPolicyTest1EE", [(DEFAULT_RULES, False)]),
    ("4.12.2", "ValidinhibitAnyPolicyTest2EE", [(DEFAULT_RULES, True)]),
    (
        "4.12.3",
        "inhibitAnyPolicyTest3EE",
        [(DEFAULT_RULES, True), (_INHIBIT_ANY, False)],
    ),
    ("4.12.4", "InvalidinhibitAnyPolicyTest4EE", [(DEFAULT_RULES, False)]),
    ("4.12.5", "InvalidinhibitAnyPolicyTest5EE", [(DEFAULT_RULES, False)]),
    ("4.12.6", "InvalidinhibitAnyPolicyTest6EE", [(DEFAULT_RULES, False)]),
    ("4.12.7", "ValidSelfIssuedinhibitAnyPolicyTest7EE", [(DEFAULT_RULES, True)]),
    ("4.12.8", "InvalidSelfIssuedinhibitAnyPolicyTest8EE", [(DEFAULT_RULES, False)]),
    ("4.12.9", "ValidSelfIssuedinhibitAnyPolicyTest9EE", [(DEFAULT_RULES, True)]),
    ("4.12.10", "InvalidSelfIssuedinhibitAnyPolicyTest10EE", [(DEFAULT_RULES, False)]),
]
"""Tests of policies, with the inputs of RFC 5280 6.1.1 (c) to (g) and what they give."""

EXCLUDED = {
    "4.1.5": (
        "the CA's key inherits its DSA parameters from its issuer: RFC 5280 6.1.4 (e) allows it, "
        "RFC 3279 2.3.2 discourages it, and no library here loads such a key"
    ),
}


def cases() -> Iterator[Case]:
    """Yield every case of the document."""
    for section, leaves in _PLAIN.items():
        for index, leaf in enumerate(leaves, 1):
            number = f"{section}.{index}"
            valid = leaf.startswith("Valid")
            yield Case(number=number, leaf=leaf, valid=valid, crl=number in _CRL_DECIDES)
    for number, leaf, inputs in _POLICIES:
        for index, (rules, valid) in enumerate(inputs, 1):
            suffix = f"/{index}" if len(inputs) > 1 else ""
            yield Case(number=number + suffix, leaf=leaf, valid=valid, rules=rules)

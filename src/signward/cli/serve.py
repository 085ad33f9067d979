"""``signward serve``: the authority's HTTP service."""

from __future__ import annotations

import argparse
from pathlib import Path

DESCRIPTION = """\
Serve an authority over HTTP: certificates, CRLs, OCSP, timestamps, the log, the
feed, and signatures by its keys.

All roles that the settings speak of run in one process, on loopback, with the
database in the data folder.  Verification material is for everybody; everything
else asks who calls (client certificate or OpenID Connect token) and is closed
to whom the settings do not name.  SIGTERM and SIGINT stop the service once the
requests under way are answered."""

EPILOG = """examples:
  signward serve --data /var/lib/signward
  signward serve --role ocsp --role crl --listen 127.0.0.1:8651
  signward serve --listen 0.0.0.0:443 --tls-certificate certificates-and-key.pem

exit codes: 0 stopped as told, 1 stopped otherwise, 2 did not start
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``serve``."""
    parser.add_argument("--data", default="", metavar="DIR", help="the authority's folder "
                        "(default: $SIGNWARD_DATA, else signward-data)")  # fmt: skip
    parser.add_argument("--database", default="", metavar="URL", help="postgresql://... to share "
                        "state between machines (default: SQLite in the folder)")  # fmt: skip
    parser.add_argument("--role", action="append", default=[], metavar="ROLE",
                        help="serve this role only (may be given again): ca, crl, ocsp, tsa, log, "
                        "feed, sign (default: all that are set up)")  # fmt: skip
    parser.add_argument("--workers", type=_workers, default=1, metavar="N",
                        help="processes that share the work (default: 1)")  # fmt: skip
    parser.add_argument("--log-all", action="store_true", help="log each request, also those that "
                        "hand out verification material all day long")  # fmt: skip
    _add_listening(parser.add_argument_group("where it is reached"))


def _add_listening(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--listen", default="127.0.0.1:8650", metavar="HOST:PORT",
                       help="the address (default: 127.0.0.1:8650); one that other machines reach "
                       "needs TLS")  # fmt: skip
    group.add_argument("--tls-certificate", default="", metavar="PEM",
                       help="the service's certificates, leaf first")  # fmt: skip
    group.add_argument("--tls-key", default="", metavar="PEM",
                       help="its key (default: in the same file)")  # fmt: skip
    group.add_argument("--behind-proxy", action="store_true", help="a proxy ends TLS: listen "
                       "without it on any address; callers show tokens, for client certificates "
                       "end at the proxy")  # fmt: skip


def _workers(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= _MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"found {text!r}, required 1 to {_MAX_WORKERS}")
    return int(text)


_MAX_WORKERS = 64


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop; return the exit code."""
    from signward.service.processes import Options, serve
    from signward.verbs.authority.realm import default_folder

    return serve(
        Options(
            data=Path(arguments.data) if arguments.data else default_folder(),
            database=arguments.database,
            roles=tuple(dict.fromkeys(arguments.role)),
            listen=arguments.listen,
            certificates=arguments.tls_certificate,
            key=arguments.tls_key,
            behind_proxy=arguments.behind_proxy,
            workers=arguments.workers,
            log_all=arguments.log_all,
        )
    )

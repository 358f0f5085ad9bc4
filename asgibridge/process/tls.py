"""From the settings of TLS to the terms on which clients are served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgibridge.net.certificates import TlsFiles, TlsTerms, make_terms

if TYPE_CHECKING:
    from asgibridge.config.settings import Config

__all__ = ["tls_terms"]


def tls_terms(config: Config) -> TlsTerms | None:
    """Read the certificates that *config* names; None if it names none.

    Raises:
        TlsError: one of the files cannot be used.
    """
    if config.ssl_certfile is None:
        return None
    return make_terms(
        TlsFiles(
            certfile=config.ssl_certfile,
            keyfile=config.ssl_keyfile,
            password=config.ssl_keyfile_password,
            ca_certs=config.ssl_ca_certs,
            cert_reqs=config.ssl_cert_reqs,
            ciphers=config.ssl_ciphers,
        )
    )

"""permessage-deflate (RFC 7692) whose memory is bounded, and is taken only when it is used.

An idle socket that has negotiated compression but never used it costs nothing more than one that
has not.
"""

from __future__ import annotations

import functools
import zlib
from typing import TYPE_CHECKING, Any, Final

from websockets.extensions.permessage_deflate import (
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from websockets.extensions import Extension
    from websockets.typing import ExtensionParameter

__all__ = ["Deflate", "DeflateFactory"]

# A window of 4 KiB compresses messages of web pages nearly as well as one of 32 KiB.  zlib takes
# 32 KiB to compress and 11 KiB to decompress then, in place of 256 KiB and 39 KiB (zconf.h).
WINDOW_BITS: Final = 12
_SETTINGS: Final = {"memLevel": 5}


class Deflate(PerMessageDeflate):
    """The extension of one socket: the two zlib contexts are made with the first message each."""

    def __init__(
        self,
        remote_no_context_takeover: bool,  # noqa: FBT001
        local_no_context_takeover: bool,  # noqa: FBT001
        remote_max_window_bits: int,
        local_max_window_bits: int,
        compress_settings: dict[Any, Any] | None = None,
    ) -> None:
        """Keep what was negotiated."""
        super().__init__(
            remote_no_context_takeover,
            local_no_context_takeover,
            remote_max_window_bits,
            local_max_window_bits,
            compress_settings,
        )
        self.__dict__.pop("decoder", None)
        self.__dict__.pop("encoder", None)

    @functools.cached_property
    def decoder(self) -> Any:  # type: ignore[override] # noqa: ANN401 - zlib does not name it
        """The context for what the client sends."""
        return zlib.decompressobj(wbits=-self.remote_max_window_bits)

    @functools.cached_property
    def encoder(self) -> Any:  # type: ignore[override] # noqa: ANN401 - zlib does not name it
        """The context for what the client is sent."""
        return zlib.compressobj(wbits=-self.local_max_window_bits, **self.compress_settings)


class DeflateFactory(ServerPerMessageDeflateFactory):
    """Negotiates it for each socket."""

    def __init__(self) -> None:
        """Ask for small windows on both sides."""
        super().__init__(
            server_max_window_bits=WINDOW_BITS,
            client_max_window_bits=WINDOW_BITS,
            compress_settings=_SETTINGS,
        )

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], PerMessageDeflate]:
        """Answer one offer of the client."""
        answer, agreed = super().process_request_params(params, accepted_extensions)
        lazy = Deflate(
            agreed.remote_no_context_takeover,
            agreed.local_no_context_takeover,
            agreed.remote_max_window_bits,
            agreed.local_max_window_bits,
            agreed.compress_settings,
        )
        return answer, lazy

"""nftables through its own library: text in, one atomic transaction, text or JSON out.

The library speaks the same language as nft(8), keeps the kernel interface
out of our code, and needs 0.05 to 0.2 ms where starting the program needs 8.

Source: libnftables(3), nft(8), libnftables-json(5).
"""

import ctypes
import os
import re
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from corten.errors import InvalidInput, Unavailable
from corten.linux.syscalls import KernelError

LIBRARY = "libnftables.so.1"
NFT_CTX_DEFAULT = 0
NFT_CTX_OUTPUT_JSON = 1 << 4
# the second form: the library itself found that the table, chain or set is not there
_REFUSED = re.compile(r"Error: (?:Could not process rule: )?([^;\n]+)")
_ERRNO = {os.strerror(number): number for number in range(1, 134)}

# The parser of the library keeps global state, so one run at a time in the process.
_lock = threading.Lock()


def load(library: str = LIBRARY) -> ctypes.CDLL:
    """Load *library* and declare what is used of it; cheap when it is loaded already.

    Raises:
        Unavailable: it is not installed.
    """
    try:
        nft = ctypes.CDLL(library)
    except OSError:
        raise Unavailable(
            f"{library} is missing: install its package with 'apt install libnftables1'"
        ) from None
    nft.nft_ctx_new.argtypes, nft.nft_ctx_new.restype = (ctypes.c_uint32,), ctypes.c_void_p
    nft.nft_ctx_free.argtypes, nft.nft_ctx_free.restype = (ctypes.c_void_p,), None
    nft.nft_ctx_output_set_flags.argtypes = (ctypes.c_void_p, ctypes.c_uint)
    nft.nft_ctx_output_set_flags.restype = None
    nft.nft_run_cmd_from_buffer.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(nft, name).argtypes = (ctypes.c_void_p,)
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(nft, name).argtypes = (ctypes.c_void_p,)
        getattr(nft, name).restype = ctypes.c_char_p
    return nft


class Nftables:
    """A context of the library, made at the first ``run``, in the network namespace of that thread.

    It stays with that namespace. Safe to share between threads. Closed by
    the owner, by ``with`` or ``close``.
    """

    def __init__(self, loader: Callable[[], ctypes.CDLL] = load) -> None:
        self._loader = loader
        self._nft: ctypes.CDLL | None = None
        self._context: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, text: str, *, json: bool = False) -> str:
        """Carry out *text* (the language of nft(8)) as one transaction: all of it, or nothing.

        Args:
            text: Commands, one per line. Names in it must have been checked by
                the caller: it can say anything that nft can.
            json: Have lists printed as JSON, see libnftables-json(5).

        Returns:
            What nft would print; empty unless something is listed.

        Raises:
            InvalidInput: *text* is not understood.
            KernelError: the kernel refused (ENOENT: no such table; EPERM...).
            Unavailable: the library is not installed.
        """
        with _lock:
            nft, context = self._open()
            nft.nft_ctx_output_set_flags(context, NFT_CTX_OUTPUT_JSON if json else 0)
            result = nft.nft_run_cmd_from_buffer(context, text.encode())
            output = (nft.nft_ctx_get_output_buffer(context) or b"").decode()
            errors = (nft.nft_ctx_get_error_buffer(context) or b"").decode()
        if result != 0:
            raise failure(errors, text)
        return output

    def close(self) -> None:
        """Free the context; idempotent, and a later ``run`` makes a new one."""
        with _lock:
            if self._nft is not None and self._context is not None:
                self._nft.nft_ctx_free(self._context)
            self._context = None

    def _open(self) -> tuple[ctypes.CDLL, int]:
        if self._nft is None:
            self._nft = self._loader()
        if self._context is None:
            self._context = self._nft.nft_ctx_new(NFT_CTX_DEFAULT)
            if not self._context:
                raise Unavailable("nftables cannot be used: free memory and file descriptors, then try again")
            self._nft.nft_ctx_buffer_output(self._context)
            self._nft.nft_ctx_buffer_error(self._context)
        return self._nft, self._context


def failure(errors: str, text: str) -> KernelError | InvalidInput:
    """Turn the library's *errors* about *text* into an exception; of several the first one counts."""
    # the library quotes the first line of text, whichever was wrong
    first, *more = text.strip().splitlines() or [""]
    source = f"'{first}' (first of {len(more) + 1} lines)" if more else f"'{first}'"
    refused = _REFUSED.search(errors)
    if refused and refused[1] in _ERRNO:
        return KernelError(_ERRNO[refused[1]], f"nft {source}")
    message = errors.partition("Error: ")[2].partition("\n")[0]
    return InvalidInput(f"nft does not accept {source}: {message or 'unknown error'}")

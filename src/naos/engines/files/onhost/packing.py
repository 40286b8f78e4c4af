"""What file systems compress with. A damaged one raises Damaged; nothing unpacks to more than was said."""

import ctypes
import struct
import zlib

from naos.engines.files.onhost.disk import Damaged, Unsupported

_ZLIB, _LZO, _ZSTD = 1, 2, 3
_UNIT = 4096  # bytes that LZNT1 packs at a time


def _load() -> ctypes.CDLL | None:
    """Zstandard's library, which Debian's package manager needs itself. It is opened before this process gives up its rights."""
    try:
        library = ctypes.CDLL("libzstd.so.1")
    except OSError:
        return None
    library.ZSTD_findFrameCompressedSize.restype = ctypes.c_size_t
    library.ZSTD_findFrameCompressedSize.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    library.ZSTD_decompress.restype = ctypes.c_size_t
    library.ZSTD_decompress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    library.ZSTD_isError.argtypes = [ctypes.c_size_t]
    return library


_zstd = _load()


def unpacked(method: int, data: bytes, size: int, sector: int) -> bytes:
    """One extent of btrfs. size: bytes that it had."""
    if method == _ZLIB:
        try:
            return zlib.decompressobj().decompress(data, size)
        except zlib.error as error:
            raise Damaged(f"compressed data: {error}") from error
    if method == _ZSTD:
        return _zstandard(data, size)
    if method == _LZO:
        return _lzo(data, size, sector)
    raise Unsupported(f"compression {method}")


def _zstandard(data: bytes, size: int) -> bytes:
    if _zstd is None:
        raise Unsupported("zstd, for which the vault's host lacks libzstd1")
    length = _zstd.ZSTD_findFrameCompressedSize(data, len(data))
    if _zstd.ZSTD_isError(length):
        raise Damaged("compressed data (zstd)")
    target = ctypes.create_string_buffer(size)
    found = _zstd.ZSTD_decompress(target, size, data, length)
    if _zstd.ZSTD_isError(found):
        raise Damaged("compressed data (zstd)")
    return target.raw[:found]


def _lzo(data: bytes, size: int, sector: int) -> bytes:
    """Segments of one sector each; a length never crosses a sector's end."""
    if len(data) < 4:
        raise Damaged("compressed data (lzo)")
    total, at = min(struct.unpack_from("<I", data, 0)[0], len(data)), 4
    parts: list[bytes] = []
    done = 0
    while at + 4 <= total and done < size:
        length = struct.unpack_from("<I", data, at)[0]
        at += 4
        if at + length > len(data):
            raise Damaged("compressed data (lzo)")
        part = lzo1x(data[at : at + length], sector)
        parts.append(part)
        done += len(part)
        at += length
        if sector - at % sector < 4:
            at += sector - at % sector
    return b"".join(parts)[:size]


def lzo1x(data: bytes, most: int) -> bytes:  # noqa: C901, PLR0915 - one automaton
    """One segment of LZO1X, unpacked. Raises Damaged."""
    out = bytearray()
    at = 0

    def run(short: int, bits: int) -> int:
        """A length that goes on in further bytes when it is 0."""
        nonlocal at
        if short:
            return short
        length = (1 << bits) - 1
        while data[at] == 0:
            length += 255
            at += 1
        at += 1
        return length + data[at - 1]

    def literal(count: int) -> None:
        nonlocal at
        out.extend(data[at : at + count])
        at += count

    def match(distance: int, count: int) -> None:
        start = len(out) - distance
        if start < 0 or len(out) + count > most:
            raise Damaged("compressed data (lzo)")
        for number in range(count):
            out.append(out[start + number])

    try:
        state = 0  # literals that came before: 0 none, 1 to 3, 4 for a long run
        if data[0] > 17:
            count = data[0] - 17
            at = 1
            literal(count)
            state = min(count, 4)
        while True:
            code = data[at]
            at += 1
            if code < 16:
                if state == 0:
                    literal(run(code, 4) + 3)
                    state = 4
                    continue
                low = code & 3
                distance = (data[at] << 2) + (code >> 2) + 1
                at += 1
                if state == 4:
                    match(distance + 2048, 3)
                else:
                    match(distance, 2)
            elif code < 32:
                count = run(code & 7, 3) + 2
                word = data[at] | data[at + 1] << 8
                at += 2
                distance = 16384 + ((code & 8) << 11) + (word >> 2)
                if distance == 16384:
                    return bytes(out)
                match(distance, count)
                low = word & 3
            elif code < 64:
                count = run(code & 31, 5) + 2
                word = data[at] | data[at + 1] << 8
                at += 2
                match((word >> 2) + 1, count)
                low = word & 3
            else:
                distance = (data[at] << 3) + ((code >> 2) & 7) + 1
                at += 1
                match(distance, (code >> 5) + 1)
                low = code & 3
            literal(low)
            state = low
    except IndexError:
        raise Damaged("compressed data (lzo)") from None


def lznt1(data: bytes, size: int) -> bytes:
    """A unit of a compressed NTFS file, unpacked to `size` bytes; what is missing is zeroes. Raises Damaged."""
    out = bytearray()
    at = 0
    while at + 2 <= len(data) and len(out) < size:
        head = struct.unpack_from("<H", data, at)[0]
        if not head:
            break
        at += 2
        end = at + (head & 0xFFF) + 1
        if end > len(data):
            raise Damaged("compressed data (LZNT1)")
        if head & 0x8000:
            _lznt1_chunk(data, at, end, out)
        else:
            out += data[at:end]
        at = end
        short = -len(out) % _UNIT
        if short and len(out) < size:
            out += bytes(short)
    return bytes(out[:size]) + bytes(max(size - len(out), 0))


def _lznt1_chunk(data: bytes, at: int, end: int, out: bytearray) -> None:
    start = len(out)
    while at < end:
        flags = data[at]
        at += 1
        for bit in range(8):
            if at >= end:
                return
            if not flags >> bit & 1:
                out.append(data[at])
                at += 1
                continue
            if at + 2 > end:
                raise Damaged("compressed data (LZNT1)")
            token = struct.unpack_from("<H", data, at)[0]
            at += 2
            shift, position = 12, len(out) - start - 1
            while position >= 16:
                shift -= 1
                position >>= 1
            distance, length = (token >> shift) + 1, (token & ((1 << shift) - 1)) + 3
            here = len(out) - distance
            if here < start or len(out) - start + length > _UNIT:
                raise Damaged("compressed data (LZNT1)")
            for number in range(length):
                out.append(out[here + number])

"""JPEG, JPEG-LS, JPEG 2000 and RLE inside DICOM: a plug-in that lets pydicom decode them by imagecodecs.

All of its libraries have permissive licences. pydicom's own choice for lossless JPEG, pylibjpeg-libjpeg, is under
the GPL; its own decoder of RLE takes several times as long.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.pixels.decoders.base import Decoder, DecodeRunner, get_decoder

LABEL = "imagecodecs"
_JPEG_END = b"\xff\xd9"


def _jpeg(frame: bytes) -> NDArray[Any]:
    # libjpeg fills what is missing with gray, and only warns
    if _JPEG_END not in frame[-4:]:
        raise ValueError("the end of the JPEG data is missing")
    samples: NDArray[Any] = imagecodecs.jpeg8_decode(frame)
    return samples


def _rle(frame: bytes) -> NDArray[Any]:
    """Return the samples of a frame in one row: PackBits, the high bytes of all samples first."""
    count, *starts = struct.unpack_from("<16I", frame)
    if count not in (1, 2):
        raise ValueError(f"{count} segments")
    ends = [*starts[1:count], len(frame)]
    planes = [imagecodecs.packbits_decode(frame[start:end]) for start, end in zip(starts, ends, strict=False)]
    length = min(map(len, planes))  # a segment may end with a byte that makes its length even
    samples = np.frombuffer(b"".join(plane[:length] for plane in planes), np.uint8).reshape(count, length)
    joined: NDArray[Any] = samples[0] if count == 1 else samples[0].astype(np.uint16) << 8 | samples[1]
    return joined


_DECODE: Mapping[str, Callable[[bytes], NDArray[Any]]] = {
    **dict.fromkeys((uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1), _jpeg),
    **dict.fromkeys((uid.JPEGLSLossless, uid.JPEGLSNearLossless), imagecodecs.jpegls_decode),
    **dict.fromkeys((uid.JPEG2000Lossless, uid.JPEG2000), imagecodecs.jpeg2k_decode),
    uid.RLELossless: _rle,
    **dict.fromkeys((uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K), imagecodecs.htj2k_decode),
}
DECODER_DEPENDENCIES = dict.fromkeys(_DECODE, (LABEL,))
"""What pydicom asks a plug-in for, as ``is_available``."""


def is_available(transfer_syntax: str) -> bool:
    """Return whether this module decodes frames of a transfer syntax."""
    return transfer_syntax in _DECODE


def decoder_of(transfer_syntax: uid.UID) -> tuple[Decoder, str]:
    """Return pydicom's decoder and the plug-in for it; "" for pydicom's own.

    Raises:
        NotImplementedError: pixels are compressed in a way that isn't known.
    """
    decoder = get_decoder(transfer_syntax)
    if not is_available(transfer_syntax):
        return decoder, ""
    if LABEL not in decoder.available_plugins:
        decoder.add_plugin(LABEL, (__name__, "_decode_frame"))
    return decoder, LABEL


def _decode_frame(frame: bytes, runner: DecodeRunner) -> bytes:
    """Return the samples of one frame; their container follows the frame and not the header."""
    samples = _DECODE[runner.transfer_syntax](frame)
    whole = (runner.rows, runner.columns), (runner.rows * runner.columns,)
    if samples.shape not in whole or samples.dtype.itemsize > 2:
        raise ValueError(f"a frame of {samples.shape} {samples.dtype}")
    runner.set_option("bits_allocated", 8 * samples.dtype.itemsize)
    return np.ascontiguousarray(samples).tobytes()

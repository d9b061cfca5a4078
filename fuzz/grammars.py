"""Inputs by the grammar of their format, which mutations of bytes rarely keep whole.

Each function makes an input from a source of random numbers; most of it is valid, some of it not.
"""

from __future__ import annotations

import json
import pickletools
import struct
from random import Random
from typing import Any

MAX_DEPTH = 40
HEADER = struct.Struct("<4sIQQ")
NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    8,
    31,
    32,
    33,
    63,
    64,
    255,
    256,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
)
DTYPES = ("<f4", "<f8", "<i4", "<u4", "|u1", "|b1", ">f4", "|O", "<U3", "|S0", "|V8", "<M8[s]", "x")
NAMES = (
    *("numpy ndarray", "numpy dtype", "numpy.core.multiarray _reconstruct"),
    *("numpy._core.numeric _frombuffer", "numpy.core.multiarray scalar", "_codecs encode"),
    *(
        "builtins bytearray",
        "builtins eval",
        "os system",
        "copyreg _reconstructor",
        "builtins list",
    ),
)


def number(chance: Random) -> int:
    """A number near a limit, of either sign."""
    value = chance.choice(NUMBERS) + chance.choice((-1, 0, 0, 0, 1))
    return -value if chance.random() < 0.1 else value


# ---- pickles


def pickled(chance: Random) -> bytes:
    """A program of opcodes with arguments that fit, framed by its size."""
    body = bytearray(b"\x80" + bytes([chance.choice((2, 3, 4, 5))]))
    for _ in range(chance.randint(1, 60)):
        body += opcode(chance, chance.choice(pickletools.opcodes))
    body += chance.choice((b".", b"\x85.", b"t.", b"\x86."))
    size = len(body) if chance.random() < 0.95 else number(chance) & 0xFFFFFFFF
    return struct.pack("<I", size) + bytes(body)


def opcode(chance: Random, code: Any) -> bytes:
    """One opcode and its argument."""
    name = code.arg.name if code.arg is not None else ""
    text = chance.choice(NAMES).encode()
    data = bytes(chance.randrange(256) for _ in range(chance.choice((0, 1, 4, 8, 40))))
    lengths = {"1": "<B", "4": "<I", "8": "<Q"}
    if name.startswith("stringnl_noescape_pair"):
        argument = text.replace(b" ", b"\n", 1) + b"\n"
    elif "nl" in name:
        argument = chance.choice((str(number(chance)).encode(), b"'a'", b"1.5", b"01")) + b"\n"
    elif name[-1:] in lengths and any(
        part in name for part in ("string", "unicode", "bytes", "long")
    ):
        content = text if "unicode" in name and chance.random() < 0.5 else data
        argument = struct.pack(lengths[name[-1]], len(content)) + content
    elif name in ("uint1", "uint2", "int4", "uint4", "uint8", "float8"):
        size = int(name[-1])
        argument = (number(chance) % (1 << 8 * size)).to_bytes(size, "little")
        if chance.random() < 0.7 and size < 8:
            argument = bytes([chance.randrange(8)]) + bytes(size - 1)  # a slot of the memo
    else:
        argument = b""
    return code.code.encode("latin-1") + argument


# ---- JSON messages


def json_message(chance: Random) -> bytes:
    """A message in the JSON framing; its payload has about the size of its arrays."""
    size = 0

    def value(depth: int) -> Any:
        nonlocal size
        kind = chance.randrange(9 if depth < MAX_DEPTH else 6)
        if kind == 0:
            return chance.choice((None, True, False, 1.5, -0.0, 1e300, float("nan"), float("inf")))
        if kind == 1:
            return number(chance)
        if kind == 2:
            return chance.choice(("", "a", "\u00ff", "\ud800", "x" * 300))
        if kind == 3:
            return {"__bytes__": chance.choice(("", "abc", "\u00ff\u0100", 3, None))}
        if kind in (4, 5):
            shape = [abs(number(chance)) % 5 for _ in range(chance.choice((0, 1, 1, 2, 2, 3, 33)))]
            if chance.random() < 0.1:
                shape.append(number(chance))
            dtype = chance.choice(DTYPES)
            nbytes = int("".join(c for c in dtype if c.isdigit()) or 1)
            for length in shape:
                nbytes *= length
            size += nbytes
            offset = chance.choice((None, None, None, 0, 64, -1, "a"))
            return {"__array__": [dtype, shape, chance.choice("CCCFFA"), offset]}
        items = [value(depth + 1) for _ in range(chance.choice((0, 1, 1, 2, 3)))]
        return items if kind < 8 else {chance.choice(("a", "b", "__array__")): i for i in items}

    message = [chance.choice(("ok", "error", "exception", 1)), *(value(1) for _ in range(3))]
    text = json.dumps(message, separators=(",", ":")).encode()
    if chance.random() < 0.1:
        offset = chance.randrange(len(text))
        text = text[:offset] + bytes([chance.randrange(256)]) + text[offset + 1 :]
    size = max(0, min(size + chance.choice((0, 0, 0, 0, -1, 1, 8)), 20_000))
    declared = size if chance.random() < 0.9 else abs(number(chance))
    return HEADER.pack(b"SPR2", len(text), abs(number(chance)), declared) + text + bytes(size)


def message(chance: Random) -> bytes:
    """A message in either framing."""
    return pickled(chance) if chance.random() < 0.5 else json_message(chance)


# ---- Bliss


def corpus(chance: Random) -> bytes:
    """A corpus: nested, with speakers, conditions, includes, repeated and strange names."""
    names = ("a", "b", "a/b", "", " ", "ü", "x" * 400, "1", "&lt;", "&#9;")
    times = ("0", "1.5", "inf", "nan", "-1", "1e400", "x", "", " 2 ", "0x10", "1_0")
    elements = (
        *("subcorpus", "recording", "segment", "segment", "speaker", "speaker-description"),
        *("condition", "condition-description", "orth", "include", "alternative", "unknown"),
    )

    def attributes() -> str:
        pairs = {}
        for key, values in (("name", names), ("start", times), ("end", times), ("track", times)):
            if chance.random() < (0.8 if key == "name" else 0.4):
                pairs[key] = chance.choice(values)
        if chance.random() < 0.1:
            pairs["file"] = chance.choice(("input", "absent", "", "/dev/null"))
        if chance.random() < 0.2:
            pairs["audio"] = chance.choice(names)
        return "".join(f' {key}="{value}"' for key, value in pairs.items())

    def element(depth: int) -> str:
        if depth > 70 or chance.random() < 0.2:
            return chance.choice((*names, "<!-- c -->", "<![CDATA[x]]>", "text"))
        name = chance.choice(elements)
        if depth > 3 and chance.random() < 0.3:
            name = "subcorpus"
        count = 1 if name == "subcorpus" and depth > 3 else chance.choice((0, 0, 1, 1, 2, 3))
        inner = "".join(element(depth + 1) for _ in range(count))
        return f"<{name}{attributes()}>{inner}</{name}>"

    inner = "".join(element(1) for _ in range(chance.randint(0, 6)))
    encoding = chance.choice(("utf-8", "utf-8", "iso-8859-1", "utf-16", "none"))
    head = f'<?xml version="1.0" encoding="{encoding}"?>' if chance.random() < 0.8 else ""
    text = f"{head}<corpus{attributes()}>{inner}</corpus>"
    return text.encode("utf-16" if encoding == "utf-16" else "utf-8", "replace")

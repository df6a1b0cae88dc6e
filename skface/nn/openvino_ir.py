"""Read the constants (the weights) of a network stored as OpenVINO IR: an .xml beside a .bin."""

import math
from os import PathLike
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_constants"]

# Element types of the IR that NumPy has too; bf16 and the types below one byte are refused.
_DTYPES = {
    "f16": "<f2",
    "f32": "<f4",
    "f64": "<f8",
    "i8": "i1",
    "i16": "<i2",
    "i32": "<i4",
    "i64": "<i8",
    "u8": "u1",
    "u16": "<u2",
    "u32": "<u4",
    "u64": "<u8",
    "boolean": "?",
}


def read_constants(xml_path: str | PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read every constant of an OpenVINO IR, in the order of the graph.

    Parameters
    ----------
    xml_path : str or path-like
        The .xml file. The .bin file must be beside it and have the same stem.

    Returns
    -------
    dict of str to ndarray
        Layer name -> constant, in the order in which the .xml lists the layers, which is the order
        of execution. Half precision is widened to float32; other types stay as stored.

    Raises
    ------
    FileNotFoundError
        If either file is missing.
    ValueError
        If the .xml is not an IR, holds a document type or entities (never part of an IR), has a
        constant of an unsupported type, or does not fit the .bin (truncated or of another network).

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "net.bin").write_bytes(np.array([1.0, 0.5], "<f2").tobytes())
    >>> _ = (folder / "net.xml").write_text(
    ...     '<net><layers><layer name="slope" type="Const">'
    ...     '<data element_type="f16" shape="2" offset="0" size="4"/></layer></layers></net>'
    ... )
    >>> read_constants(folder / "net.xml")
    {'slope': array([1. , 0.5], dtype=float32)}
    """
    xml_path = Path(xml_path)
    bin_path = xml_path.with_suffix(".bin")
    layers = _constant_layers(xml_path)
    if not bin_path.is_file():
        raise FileNotFoundError(
            f"{xml_path} keeps its weights in {bin_path.name}, which is not beside it; "
            "an OpenVINO IR is two files, and both have to be there."
        )
    blob = bin_path.read_bytes()

    constants = {}
    for name, data in layers:
        if name in constants:
            raise ValueError(f"{xml_path} has two constants named {name!r}.")
        constants[name] = _read_constant(blob, data, f"Constant {name!r} of {xml_path}")
    return constants


def _constant_layers(xml_path: Path) -> list[tuple[str, dict[str, str]]]:
    """Return [(layer name, attributes of its <data>)] of the Const layers of an IR."""
    found: list[tuple[str, dict[str, str]]] = []
    layer: dict[str, str] = {}

    def start_element(tag: str, attributes: dict[str, str]) -> None:
        nonlocal layer
        if tag == "layer":
            layer = attributes
        elif tag == "data" and layer.get("type") == "Const":
            found.append((layer.get("name", ""), attributes))

    def refuse_doctype(*_: object) -> None:
        # Only a document type can define entities, which may expand without end or read other
        # files.
        raise ValueError(f"{xml_path} declares a document type, which no OpenVINO IR does.")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start_element
    parser.StartDoctypeDeclHandler = refuse_doctype
    try:
        parser.Parse(xml_path.read_bytes(), True)
    except expat.ExpatError as error:
        raise ValueError(f"{xml_path} is not an OpenVINO IR: {error}.") from error
    if not found:
        raise ValueError(f"{xml_path} is not an OpenVINO IR with weights: it has no Const layer.")
    return found


def _read_constant(blob: bytes, data: dict[str, str], what: str) -> NDArray[Any]:
    """Read one constant from the .bin; ``data`` holds the attributes of its <data> element."""
    element_type = data.get("element_type")
    if element_type is None or element_type not in _DTYPES:
        raise ValueError(
            f"{what} has element_type={element_type!r}; the supported types are "
            f"{', '.join(_DTYPES)}."
        )
    dtype = np.dtype(_DTYPES[element_type])
    try:
        shape = tuple(int(side) for side in data.get("shape", "").split(",") if side.strip())
        offset, size = int(data["offset"]), int(data["size"])
    except (KeyError, ValueError) as error:
        raise ValueError(f"{what} lacks a readable shape, offset or size: {data}.") from error
    count = math.prod(shape)
    if offset < 0 or min(shape, default=0) < 0 or size != count * dtype.itemsize:
        raise ValueError(f"{what} is inconsistent: {data}.")
    if offset + size > len(blob):
        raise ValueError(
            f"{what} ends at byte {offset + size:,}, but the .bin holds {len(blob):,} bytes: it is "
            "truncated or belongs to another network; fetch both files again."
        )
    values = np.frombuffer(blob, dtype, count, offset).reshape(shape)
    return values.astype(np.float32 if element_type == "f16" else dtype.newbyteorder("="))

"""VRT mosaics as ``gdalbuildvrt`` writes them, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from affine import Affine

DTYPES = {
    "uint8": "Byte",
    "uint16": "UInt16",
    "int16": "Int16",
    "int32": "Int32",
    "float32": "Float32",
    "float64": "Float64",
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """Pixels of a file, from ``top`` and ``left`` of it, that go to ``row`` and ``col`` of the mosaic."""

    name: str
    row: int
    col: int
    height: int
    width: int
    top: int = 0
    left: int = 0
    nodata: float | None = None
    masked: bool = False

    def xml(self, band: str) -> str:
        """As a source of a band."""
        kind = "SimpleSource" if self.nodata is None and not self.masked else "ComplexSource"
        more = "" if self.nodata is None else f"<NODATA>{self.nodata}</NODATA>"
        more += "<UseMaskBand>true</UseMaskBand>" if self.masked else ""
        size = f'xSize="{self.width}" ySize="{self.height}"'
        return (
            f'<{kind}><SourceFilename relativeToVRT="1">{escape(self.name)}</SourceFilename>'
            f'<SourceBand>{band}</SourceBand><SrcRect xOff="{self.left}" yOff="{self.top}" {size} />'
            f'<DstRect xOff="{self.col}.0000000001" yOff="{self.row}" {size} />{more}</{kind}>'
        )


def write_mosaic(
    path: Path,
    sources: Sequence[Source],
    shape: tuple[int, int],
    *,
    bands: int = 1,
    dtype: str = "uint8",
    nodata: float | None = None,
    crs: str | None = None,
    transform: Affine | None = None,
    mask: Sequence[Source] | None = None,
) -> Path:
    """Write a VRT of sources with equally many bands.

    Args:
        path: the VRT.
        sources: in the order they lie over each other.
        shape: of the mosaic.
        bands: number of bands.
        dtype: of all.
        nodata: of all.
        crs: of the transform.
        transform: of the mosaic.
        mask: sources of its mask.
    """
    parts = [f'<VRTDataset rasterXSize="{shape[1]}" rasterYSize="{shape[0]}">']
    if crs is not None:
        parts.append(f"<SRS>{escape(crs)}</SRS>")
    if transform is not None:
        parts.append(
            f"<GeoTransform>{', '.join(f'{value:.16e}' for value in transform.to_gdal())}</GeoTransform>"
        )
    told = "" if nodata is None else f"<NoDataValue>{nodata}</NoDataValue>"
    for band in range(1, bands + 1):
        inside = "".join(source.xml(str(band)) for source in sources)
        parts.append(
            f'<VRTRasterBand dataType="{DTYPES[dtype]}" band="{band}">{told}{inside}</VRTRasterBand>'
        )
    if mask is not None:
        inside = "".join(source.xml("mask,1") for source in mask)
        parts.append(f'<MaskBand><VRTRasterBand dataType="Byte">{inside}</VRTRasterBand></MaskBand>')
    path.write_text("".join([*parts, "</VRTDataset>"]), encoding="utf-8")
    return path

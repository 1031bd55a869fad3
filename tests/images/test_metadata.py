"""What photos tell of themselves, as cameras and programs write it, wherever their formats keep it."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from pictures import file_bytes
from PIL import Image

from mmsearch.base.records import ImageFacts
from mmsearch.images import camera_dates, decode
from mmsearch.images.facts import camera, coordinate, position, text
from mmsearch.images.xmp import Xmp

EXIF_IFD, GPS_IFD = 0x8769, 0x8825
MAKE, MODEL, MODIFIED, TAKEN, DIGITIZED = 0x010F, 0x0110, 0x0132, 0x9003, 0x9004

XMP = """<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" {attributes}>
{elements}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def packet(attributes: str = "", elements: str = "") -> bytes:
    return XMP.format(attributes=attributes, elements=elements).encode()


def exif(
    main: dict[int, Any] | None = None, details: dict[int, Any] | None = None, gps: dict[int, Any] | None = None
) -> bytes:
    block = Image.Exif()
    block.update(main or {})
    block.get_ifd(EXIF_IFD).update(details or {})
    block.get_ifd(GPS_IFD).update(gps or {})
    return block.tobytes()


def written(format_name: str = "JPEG", **options: Any) -> bytes:
    return file_bytes(Image.new("RGB", (64, 48), "red"), format_name, **options)


def facts(data: bytes) -> ImageFacts:
    return decode.decode(io.BytesIO(data), max_pixels=10**6)[1]


# --- dates ---


@pytest.mark.parametrize(
    ("written_as", "read_as"),
    [
        ("2019:01:02 03:04:05", "2019-01-02T03:04:05"),
        ("2019:01:02 24:04:05", "2019-01-02T00:04:05"),
        ("2014: 1: 2  3: 4: 5", "2014-01-02T03:04:05"),
        ("2010:7:2 9:5:1", "2010-07-02T09:05:01"),
        ("2010/07/02 09:05:01", "2010-07-02T09:05:01"),
        ("2010.07.02 09.05.01", "2010-07-02T09:05:01"),
        ("2010:07:02:09:05:01", "2010-07-02T09:05:01"),
        ("2010:07:02 09:05", "2010-07-02T09:05:00"),
        ("2010-07-02", "2010-07-02T00:00:00"),
        ("2010-07-02T09:05:01Z", "2010-07-02T09:05:01+00:00"),
        ("2010:07:02 09:05:01.50-0330", "2010-07-02T09:05:01.50-03:30"),
        ("2010:07:02 09:05:01.000", "2010-07-02T09:05:01"),
        ("1839:08:19 00:00:00", "1839-08-19T00:00:00"),
        ("0000:00:00 00:00:00", None),
        ("0001:01:01 00:00:00", None),
        ("2019:02:30 00:00:00", None),
        ("2019:00:00 00:00:00", None),
        ("2019:01:02 25:00:00", None),
        ("2019", None),
        ("20190102", None),
        ("02.07.2010 09:05:01", None),
        ("    :  :     :  :  ", None),
        ("２０１９:01:02 03:04:05", None),
        ("", None),
    ],
)
def test_dates_as_cameras_write_them(written_as: str, read_as: str | None) -> None:
    assert camera_dates.parse(written_as) == read_as


@pytest.mark.parametrize(
    ("part", "offset", "end"),
    [
        ("25", "+02:00", ".25+02:00"),
        ("007 ", "-11:00", ".007-11:00"),
        ("0", "Z", "+00:00"),
        ("x", "+99:00", ""),
        ("½", "2", ""),
    ],
)
def test_parts_of_a_second_and_the_offset_are_kept(part: str, offset: str, end: str) -> None:
    assert camera_dates.parse("2019:01:02 03:04:05", part, offset) == "2019-01-02T03:04:05" + end
    block = exif(details={TAKEN: "2019:01:02 03:04:05", 0x9291: part.replace("½", "h"), 0x9011: offset})
    assert facts(written(exif=block)).taken_at == "2019-01-02T03:04:05" + end


def test_a_day_alone_gives_way_to_a_time_of_that_day() -> None:
    assert camera_dates.first([None, "2019-01-02T00:00:00", "2018-01-01T10:00:00", "2019-01-02T03:04:05"]) == (
        "2019-01-02T03:04:05"
    )
    assert camera_dates.first(["2019-01-02T00:00:00", "2018-01-01T10:00:00"]) == "2019-01-02T00:00:00"
    assert camera_dates.first([None]) is None


FIRST, SECOND, THIRD = "2001:01:01 01:01:01", "2002:02:02 02:02:02", "2003:03:03 03:03:03"


@pytest.mark.parametrize(
    ("block", "year"),
    [
        (exif({MODIFIED: THIRD}, {TAKEN: FIRST, DIGITIZED: SECOND}), "2001"),
        (exif({MODIFIED: THIRD, TAKEN: FIRST}, {DIGITIZED: SECOND}), "2001"),
        (exif({MODIFIED: THIRD}, {TAKEN: "0000:00:00 00:00:00", DIGITIZED: SECOND}), "2002"),
        (exif({MODIFIED: THIRD}, {DIGITIZED: SECOND}), "2002"),
        (exif({MODIFIED: THIRD}), "2003"),
    ],
)
def test_the_exposure_comes_before_the_scan_and_the_edit(block: bytes, year: str) -> None:
    assert str(facts(written(exif=block)).taken_at)[:4] == year


def test_xmp_counts_before_an_edit_that_exif_tells_of() -> None:
    taken = packet('exif:DateTimeOriginal="1999-09-09T09:09:09"')
    edited = exif({MODIFIED: THIRD})
    assert facts(written(exif=edited, xmp=taken)).taken_at == "1999-09-09T09:09:09"
    assert facts(written(exif=exif({}, {TAKEN: FIRST}), xmp=taken)).taken_at == "2001-01-01T01:01:01"


# --- texts and cameras ---


@pytest.mark.parametrize(
    ("value", "read_as"),
    [
        (b"HD2\0\0p\xd83\xc0", "HD2"),
        ("HD2\0junk", "HD2"),
        ("Ã\xa9tÃ\xa9", "été"),
        (b"\xe9t\xe9", "été"),
        ("\xe9t\xe9", "été"),
        ("日本", "日本"),
        (b" Canon \n", "Canon"),
        (None, ""),
        (7, "7"),
        (b"\0Canon", ""),
    ],
)
def test_texts_end_at_a_nul_and_may_be_utf_8_or_latin_1(value: Any, read_as: str) -> None:
    assert text(value) == read_as


def test_the_camera_may_stand_in_xmp() -> None:
    assert camera("Canon", "Canon EOS 5D") == "Canon EOS 5D"
    told = packet('tiff:Make="GoPro"', "<tiff:Model>HD2</tiff:Model>")
    assert facts(written(xmp=told)).camera == "GoPro HD2"
    assert facts(written(xmp=told, exif=exif({MODEL: "X100"}))).camera == "X100"


# --- positions ---


@pytest.mark.parametrize(
    ("parts", "reference", "degrees"),
    [
        ((33, 51, 30), "S", -33.858333),
        ((33, 51, 30), "South", -33.858333),
        ((33, 51, 30), "s", -33.858333),
        ((33, 51, 30), "N", 33.858333),
        ((33, 51, 30), "", 33.858333),
        ((48, 51.5), "N", 48.858333),
        ((48.858333,), "north", 48.858333),
        ((-33, 51, 30), "", -33.858333),
        ((-33, 51, 30), "S", -33.858333),
        ((70, 12), "West", -70.2),
        ((33, 51, 30), "7", None),
        ((33, 51, 30), "Ouest", None),
        ((91, 0, 0), "N", None),
        ((float("nan"), 0, 0), "N", None),
        ((float("inf"),), "N", None),
        ((), "N", None),
        ((1, 2, 3, 4), "N", None),
    ],
)
def test_positions_as_cameras_write_them(parts: tuple[float, ...], reference: str, degrees: float | None) -> None:
    found = coordinate(parts, reference, 90)
    assert found == (None if degrees is None else pytest.approx(degrees, abs=1e-6))


def test_zero_and_zero_is_no_position() -> None:
    assert position(0.0, 0.0) is None and position(None, 1.0) is None
    assert position(0.0, 9.5) == (0.0, 9.5)


@pytest.mark.parametrize(
    ("gps", "where"),
    [
        ({1: "South", 2: (33.0, 51.0, 30.0), 3: "West", 4: (70.0, 12.0, 0.0)}, (-33.858333, -70.2)),
        ({1: "N", 2: (48.0, 51.5), 3: "E", 4: (2.0, 21.0)}, (48.858333, 2.35)),
        ({1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)}, (None, None)),
    ],
)
def test_positions_in_exif(gps: dict[int, Any], where: tuple[float | None, float | None]) -> None:
    found = facts(written(exif=exif(gps=gps)))
    assert (found.latitude, found.longitude) == (where if where[0] is None else pytest.approx(where, abs=1e-6))


@pytest.mark.parametrize(
    ("latitude", "longitude", "where"),
    [
        ("33,51.5S", "70,12,0W", (-33.858333, -70.2)),
        ("48.858333", "-2.35", (48.858333, -2.35)),
        ("0,0.0N", "0,0.0E", None),
        ("nowhere", "70,12W", None),
    ],
)
def test_positions_in_xmp(latitude: str, longitude: str, where: tuple[float, float] | None) -> None:
    found = Xmp(packet(f'exif:GPSLatitude="{latitude}" exif:GPSLongitude="{longitude}"')).position()
    assert found == (None if where is None else pytest.approx(where, abs=1e-6))


# --- packets and blocks, wherever they are ---

TAKEN_IN_XMP = packet("", "<exif:DateTimeOriginal>1999-09-09T09:09:09</exif:DateTimeOriginal>")
EXIF_BLOCK = exif({MAKE: "GoPro"}, {TAKEN: FIRST})
DATASETS = b"\x1c\x02\x37\x00\x0819980807" + b"\x1c\x02\x3c\x00\x0b101112+0200"


@pytest.mark.parametrize("damage", [b"junk", b"\0\0\0", b"</a>", b"<a>", b"\xff"])
def test_what_follows_a_packet_costs_nothing(damage: bytes) -> None:
    assert Xmp(TAKEN_IN_XMP + damage).taken() == ["1999-09-09T09:09:09"]


@pytest.mark.parametrize("data", [b"", b"<", b"\0", b"<!DOCTYPE a []>" + TAKEN_IN_XMP, b"x" * (2 << 20)])
def test_what_is_no_packet_tells_nothing(data: bytes) -> None:
    assert Xmp(data).taken() == []


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF", "TIFF"])
def test_xmp_in_each_format(format_name: str) -> None:
    if format_name == "PNG":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", TAKEN_IN_XMP.decode())
        data = written("PNG", pnginfo=info)
    elif format_name == "TIFF":
        data = written("TIFF", tiffinfo={700: TAKEN_IN_XMP})
    else:
        data = written(format_name, xmp=TAKEN_IN_XMP)
    assert facts(data).taken_at == "1999-09-09T09:09:09"


def resources(**blocks: bytes) -> bytes:
    """Photoshop's image resources."""
    numbers = {"iptc": 0x0404, "exif": 0x0422, "xmp": 0x0424}
    return b"".join(
        b"8BIM" + struct.pack(">H2sI", numbers[name], b"\0\0", len(data)) + data + b"\0" * (len(data) % 2)
        for name, data in blocks.items()
    )


def psd(held: bytes) -> bytes:
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 2, 2, 8, 3)
    return head + struct.pack(">I", 0) + struct.pack(">I", len(held)) + held + bytes(4) + bytes(2) + bytes(12)


def jpeg_with(segment: int, payload: bytes) -> bytes:
    plain = written()
    return plain[:2] + bytes([0xFF, segment]) + struct.pack(">H", len(payload) + 2) + payload + plain[2:]


def test_iptc_in_jpeg_psd_and_tiff() -> None:
    taken = "1998-08-07T10:11:12+02:00"
    assert facts(jpeg_with(0xED, b"Photoshop 3.0\0" + resources(iptc=DATASETS))).taken_at == taken
    assert facts(psd(resources(iptc=DATASETS))).taken_at == taken
    assert facts(written("TIFF", tiffinfo={33723: DATASETS})).taken_at == taken
    assert facts(written("TIFF", tiffinfo={34377: resources(iptc=DATASETS)})).taken_at == taken


def test_iptc_in_a_tiff_that_calls_it_long_words() -> None:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    padded = DATASETS + bytes(-len(DATASETS) % 4)
    tags = ImageFileDirectory_v2()
    tags.tagtype[65000] = 4
    tags[65000] = struct.unpack(f"<{len(padded) // 4}I", padded)
    data = written("TIFF", tiffinfo=tags).replace(struct.pack("<HH", 65000, 4), struct.pack("<HH", 33723, 4))
    assert facts(data).taken_at == "1998-08-07T10:11:12+02:00"


@pytest.mark.parametrize("data", [b"\x1c", b"\x1c\x02\x37\x80\x04abcd", b"\x1c\x02\x37\x00\x08199", b"x" * 9])
def test_damaged_iptc_tells_nothing(data: bytes) -> None:
    assert facts(jpeg_with(0xED, b"Photoshop 3.0\0" + resources(iptc=data))).taken_at is None


def test_exif_and_xmp_in_a_psd() -> None:
    assert facts(psd(resources(exif=EXIF_BLOCK[6:]))).taken_at == "2001-01-01T01:01:01"
    assert facts(psd(resources(xmp=TAKEN_IN_XMP))).taken_at == "1999-09-09T09:09:09"


def box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(data), kind) + data


@pytest.mark.parametrize(
    ("identifier", "block", "year"),
    [
        (b"JpgTiffExif->JP2", EXIF_BLOCK[6:], "2001"),
        (b"JpgTiffExif->JP2", EXIF_BLOCK, "2001"),
        (bytes.fromhex("0537cdab9d0c4431a72afa561f2a113e"), EXIF_BLOCK[6:], "2001"),
        (bytes.fromhex("be7acfcb97a942e89c71999491e3afac"), TAKEN_IN_XMP, "1999"),
        (bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"), DATASETS, "1998"),
        (bytes(16), EXIF_BLOCK[6:], "None"),
    ],
)
def test_boxes_of_jpeg_2000(identifier: bytes, block: bytes, year: str) -> None:
    plain = written("JPEG2000", no_jp2=False)
    at = plain.index(b"jp2c") - 4
    held = plain[:at] + box(b"uuid", identifier + block) + plain[at:]
    assert str(facts(held).taken_at)[:4] == year


def test_xmp_in_jpeg_xl() -> None:
    plain = written("JXL", use_container=True)
    assert facts(plain + box(b"xml ", TAKEN_IN_XMP)).taken_at == "1999-09-09T09:09:09"


@pytest.mark.parametrize(
    ("name", "block", "year"),
    [
        ("exif", EXIF_BLOCK, "2001"),
        ("APP1", EXIF_BLOCK, "2001"),
        ("APP1", b"http://ns.adobe.com/xap/1.0/\0" + TAKEN_IN_XMP, "1999"),
        ("xmp", TAKEN_IN_XMP, "1999"),
        ("iptc", resources(iptc=DATASETS), "1998"),
        ("iptc", b"\xff\xfe", "None"),
    ],
)
def test_raw_profiles_in_a_png(name: str, block: bytes, year: str) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text(f"Raw profile type {name}", f"\n{name}\n{len(block):8}\n{block.hex()}\n", zip=True)
    assert str(facts(written("PNG", pnginfo=info)).taken_at)[:4] == year


# --- how HEIF says that a picture is turned ---


def heic(*, orientation: int, brand: bytes = b"heic") -> bytes:
    data = written("HEIF", exif=exif({0x0112: 1}))
    data = data.replace(b"mif1heicmiaf", b"mif1heic" + brand)
    at = data.index(b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x01")
    return data[: at + 9] + bytes([orientation]) + data[at + 10 :]


def test_exif_turns_a_heic_that_nothing_else_turns() -> None:
    upright, turned = facts(heic(orientation=1)), facts(heic(orientation=6))
    assert (upright.width, upright.height) == (64, 48) and (turned.width, turned.height) == (48, 64)


def test_exif_does_not_turn_a_heic_whose_brand_rules_it_out() -> None:
    found = facts(heic(orientation=6, brand=b"miaf"))
    assert (found.width, found.height) == (64, 48)


def test_a_heic_that_its_properties_turn_is_turned_once() -> None:
    data = written("HEIF", exif=exif({0x0112: 6}))
    assert b"irot" in data
    found = facts(data.replace(b"mif1heicmiaf", b"mif1heicheic"))
    assert (found.width, found.height) == (48, 64)

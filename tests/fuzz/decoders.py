"""The table of all decoders of what comes from outside; `make fuzz` and the suite share it."""

from __future__ import annotations

from tests.fuzz import aws_decoders, image_decoders, setting_decoders, wire_decoders
from tests.fuzz.decoder import Decoder

DECODERS: tuple[Decoder, ...] = (
    *wire_decoders.DECODERS,
    *setting_decoders.DECODERS,
    *image_decoders.DECODERS,
    *aws_decoders.DECODERS,
)

BY_NAME = {decoder.name: decoder for decoder in DECODERS}

"""The encoder that a collection object holds: one for index runs and queries, loaded when it is first needed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from mmsearch.base.errors import ModelError
from mmsearch.base.records import Encoder, EncoderInfo


class HeldEncoder:
    """At most one encoder, that of the model last asked for. `notice` is told a line before what takes long.

    `may_trust` is asked before the files of a model are read that the collection names and the user has not.
    """

    def __init__(self, notice: Callable[[str], None], may_trust: Callable[[str], bool]) -> None:
        self._notice = notice
        self._may_trust = may_trust
        self._held: tuple[str, Encoder] | None = None

    def release(self) -> None:
        """Let go of the encoder. The object can be used again."""
        self._held = None

    def for_indexing(self, spec: str, stored: EncoderInfo | None, *, device: str, precision: str) -> Encoder:
        """The encoder of an index run: an export where that is as good, since it is open in no time; else all of it.

        `stored` is what a collection knows of the model `spec`, if it does. Raises as `load_encoder` does.
        """
        from mmsearch.encoders import identify, load_encoder, load_export, trusted

        if self._held is None or self._held[0] != spec:
            if stored is None:  # a model that the collection does not have yet is one that the user names
                trusted.name(spec)
            known = stored or identify(spec, self._notice)
            encoder = load_export(known, device=device, precision=precision) if known else None
            if encoder is None:
                trusted.require(spec, self._may_trust)
                encoder = load_encoder(spec, device=device, precision=precision, notice=self._notice)
            if trusted.is_trusted(spec):
                trusted.remember(spec)
            self._held = (spec, encoder)
        return self._held[1]

    def for_queries(self, stored: EncoderInfo) -> Encoder:
        """The encoder of an index run, if there was one by this model; else one that is quick to open."""
        from mmsearch.encoders import load_query_encoder

        if self._held is not None and self._held[0] == stored.spec:
            return self._held[1]
        return load_query_encoder(stored, notice=self._notice, may_trust=self._may_trust)

    def identify(self, spec: str, *, device: str, precision: str) -> EncoderInfo:
        """What a model is that the user names, which some can only tell when they are loaded."""
        from mmsearch.encoders import identify, trusted

        trusted.name(spec)
        found = identify(spec, self._notice)
        return found or self.for_indexing(spec, None, device=device, precision=precision).info

    def prepare_queries(self) -> None:
        """Do what is done once for a model while it is loaded, so that the first query does not have to."""
        from mmsearch.encoders import ensure_export
        from mmsearch.searching.reference_captions import caption_vectors

        if self._held is not None:
            encoder = self._held[1]
            ensure_export(encoder, self._notice)
            with suppress(ModelError):  # the query tells it, if it is still so
                caption_vectors(encoder.info.fingerprint, encoder.info.dim, lambda: encoder)

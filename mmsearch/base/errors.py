"""Everything that mmsearch raises on purpose.

MMSearchError                 exit 1
├── UsageError                exit 2   an invalid option or argument
├── SourceError                        a folder or file given by the user cannot be read
├── DecodeError                        bytes that are not a readable image
│   ├── NotAnImageError
│   └── ImageTooLargeError
├── CollectionError                    the collection on disk
│   ├── CollectionNotFoundError
│   ├── CollectionEmptyError
│   ├── CollectionBusyError
│   ├── CollectionVersionError
│   ├── ModelMismatchError
│   ├── ReindexError
│   └── StorageError                   disk full, read-only, damaged
│       └── UntrustedError             others may have written there, and the user has not said to trust them
├── ModelError                         a model cannot be named, fetched or run
│   ├── UnknownModelError     exit 2
│   └── ModelUnavailableError
└── DeviceError                        the device asked for is not there
"""

from __future__ import annotations


class MMSearchError(Exception):
    """Base of all mmsearch errors: one line that says what is wrong, and a hint that says what to do.

    `message` names the offending value; `hint` may be empty. Neither contains a newline.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = " ".join(message.split())
        self.hint = " ".join(hint.split())

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(MMSearchError):
    """An option or argument is invalid."""

    exit_code = 2


class SourceError(MMSearchError):
    """A folder or file that the user named cannot be read."""


class DecodeError(MMSearchError):
    """Bytes cannot be turned into a picture."""


class NotAnImageError(DecodeError):
    """Bytes are not in a known image format."""


class ImageTooLargeError(DecodeError):
    """An image has more pixels, or a file more bytes, than the limit allows."""


class CollectionError(MMSearchError):
    """Something is wrong with the collection on disk."""


class CollectionNotFoundError(CollectionError):
    """No collection exists at the given path."""


class CollectionEmptyError(CollectionError):
    """The collection holds no images yet."""

    @classmethod
    def of(cls, folder: object) -> CollectionEmptyError:
        """For the collection in `folder`."""
        return cls(f"the collection at {folder} has no images", "run `mmsearch index DIR` first")


class CollectionBusyError(CollectionError):
    """Another process is writing to the collection."""


class CollectionVersionError(CollectionError):
    """The collection was written by a newer mmsearch."""


class ModelMismatchError(CollectionError):
    """The collection was built with another model."""

    @classmethod
    def of(cls, spec: str) -> ModelMismatchError:
        """For a model whose files are not those that made the collection's embeddings."""
        return cls(
            f"the collection was made with a different version of the model {spec} than the one on this disk",
            f"`mmsearch reindex --model {spec}` brings it up to date",
        )


class ReindexError(CollectionError):
    """A change of the collection's model cannot be started, or finished, now."""


class StorageError(CollectionError):
    """The disk is full, read-only or damaged."""


class UntrustedError(StorageError):
    """A collection or cache belongs to somebody else, or others may write to it: nothing is written there."""


class ModelError(MMSearchError):
    """A model cannot be loaded or run."""


class UnknownModelError(ModelError):
    """No model has this name."""

    exit_code = 2


class ModelUnavailableError(ModelError):
    """The model's files are missing and cannot be downloaded, or are damaged."""


class DeviceError(MMSearchError):
    """The device asked for is not present or does not work."""


# What is wrong with one question, rather than with the collection or the model: others may well be answered.
OF_A_QUESTION = (UsageError, SourceError, DecodeError)

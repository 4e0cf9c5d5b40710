"""The folder in which an agent works. It is made anew for each batch, and its files are not trusted."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from siren_sweep.errors import OutputError


class Refused(Exception):
    """Why a file or its content is refused. Each line completes a sentence that begins with the file's name."""

    def __init__(self, *lines: str) -> None:
        super().__init__("; ".join(lines))
        self.lines = list(lines)


class AgentFolder:
    """A folder with the files that the agent may read and edit. It is made when the context is entered.

    Files are read through the open folder, also if another one has taken its name.
    """

    def __init__(self, root: Path, files: Mapping[str, str]) -> None:
        self.root, self._files = root, dict(files)

    def __enter__(self) -> AgentFolder:
        """Raises OutputError where the folder cannot be made."""
        try:
            _remove(self.root)
            self.root.mkdir(parents=True)
            for name, text in self._files.items():
                (self.root / name).write_text(text, encoding="utf-8", errors="replace")
            self._fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            raise OutputError(f"the agent's folder {str(self.root)!r} could not be made ({error})") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def read(self, name: str, most_bytes: int) -> str:
        """The text of a file. Raises Refused unless it is a plain file of UTF-8 text of at most `most_bytes`."""
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._fd)
        except FileNotFoundError:
            raise Refused("is gone") from None
        except OSError as error:
            raise Refused("must be a plain file, got a link" if error.errno == errno.ELOOP else str(error)) from None
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise Refused("must be a plain file")
        with os.fdopen(file, "rb") as stream:
            content = stream.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise Refused(f"must have at most {most_bytes} bytes")
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise Refused("must be UTF-8 text") from None

    def tidy(self) -> None:
        """Remove all files that the agent added."""
        for name in {*os.listdir(self._fd)} - self._files.keys():
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._fd)
            shutil.rmtree(name, ignore_errors=True, dir_fd=self._fd)


def _remove(folder: Path) -> None:
    """Remove a folder, file or link with all that is in it, also where permissions forbid it.

    Links are not followed.
    """
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    if not folder.exists():
        return
    for parent, names, _ in os.walk(folder):
        os.chmod(parent, stat.S_IRWXU)
        for name in names:
            if not os.path.islink(path := os.path.join(parent, name)):
                os.chmod(path, stat.S_IRWXU)
    shutil.rmtree(folder)

"""The accounts database of a configuration, opened for a command."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from mailstack.auth.database import AccountDatabase, AccountsError

if TYPE_CHECKING:
    from mailstack.config.sections import Config


@contextmanager
def accounts_of(config: Config) -> Iterator[AccountDatabase]:
    """The accounts of this configuration, made if they are not there yet; what is wrong with them
    becomes click.ClickException."""
    path = config.accounts_database
    try:
        new = [place for place in (path.parent, path) if not place.exists()]
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        database = AccountDatabase(path)
        if os.getuid() == 0 and config.user:  # the server, which will not be root, must be able to read it
            for place in new:
                shutil.chown(place, config.user, config.group or None)
    except LookupError:
        raise click.ClickException(f"there is no system account {config.user} to own {path}") from None
    except OSError as error:
        raise click.ClickException(f"accounts database {path}: {error.strerror}") from error
    except AccountsError as error:
        raise click.ClickException(str(error)) from error
    try:
        yield database
    except AccountsError as error:
        raise click.ClickException(str(error)) from error
    finally:
        database.close()

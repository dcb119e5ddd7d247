"""``rcnn-live users``: who may log in to the live page. It imports no torch."""

from __future__ import annotations

from pathlib import Path

import click

from models.options import FILE
from stream.web.options import check_libraries


@click.group()
def users() -> None:
    """Who may log in to the live page: make the FILE of --users."""
    check_libraries()


@users.command()
@click.argument("name")
@click.option("--file", type=FILE, default=Path("users"), show_default=True)
@click.option(
    "--role",
    type=click.Choice(["viewer", "operator"]),
    default="viewer",
    show_default=True,
    help="Viewers look; operators also record, draw zones and delete.",
)
@click.password_option(help="Asked for if it is not given, which is better.")
def add(name: str, file: Path, role: str, password: str) -> None:
    """Let NAME in, or give them a new password or role."""
    from stream.web.users import ROLES, add_user

    kind = next(one for one in ROLES if one == role)
    was_there = add_user(file, name, kind, password)
    click.echo(f"{file}: {name} is {'now' if was_there else 'a new'} {role}.")


@users.command()
@click.argument("name")
@click.option("--file", type=FILE, default=Path("users"), show_default=True)
def remove(name: str, file: Path) -> None:
    """Do not let NAME in any more."""
    from stream.web.users import remove_user

    remove_user(file, name)
    click.echo(f"{file}: {name} is gone.")


@users.command(name="list")
@click.option("--file", type=FILE, default=Path("users"), show_default=True)
def list_users(file: Path) -> None:
    """Who may come in, as what."""
    from stream.web.users import read_users

    for user in read_users(file).values():
        click.echo(f"{user.name}  {user.role}")

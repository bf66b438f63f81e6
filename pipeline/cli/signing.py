"""The command that makes the keys for signatures of releases."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.app import OTHERS, app, examples, named_path
from pipeline.core.variables import SIGNING_KEY_FILE


@app.command(rich_help_panel=OTHERS, epilog=examples("keys", "keys /media/stick/keys"))
def keys(
    folder: Annotated[
        Path | None,
        typer.Argument(
            parser=named_path,
            help="Where to write them; by default ~/.config/gated-mnist.",
            metavar="FOLDER",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make the pair of keys with which releases are signed and verified.

    The private key, release.key, signs releases if PIPELINE_SIGNING_KEY_FILE names it. Anyone who
    has the public key, release.pub, can verify them, for example with serve --trust. Existing keys
    are never overwritten, and a folder from which git would add them to a repository is refused.
    """
    from pipeline.registry.keys import default_folder, make_keys

    private, public = make_keys(folder or default_folder())
    print(f"private key: {private} (keep it secret; {SIGNING_KEY_FILE.name}={private} signs)")
    print(f"public key: {public}")

"""The commands that exchange labels of a journal with other programs."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.app import OTHERS, app, examples, named_path, named_workspace

labels_app = typer.Typer(no_args_is_help=True)
app.add_typer(
    labels_app,
    name="labels",
    rich_help_panel=OTHERS,
    help="Export the labels of a journal, or import labels into it.",
    epilog=examples("labels export journal labels.csv", "labels import journal labels.csv"),
)
JournalArgument = Annotated[
    Path, typer.Argument(parser=named_path, metavar="JOURNAL", help="The folder of the journal.")
]


@labels_app.command(
    "export",
    epilog=examples("labels export journal labels.csv", "labels export journal all.parquet"),
)
def export_labels(
    journal: JournalArgument,
    file: Annotated[
        Path,
        typer.Argument(
            parser=named_path, metavar="FILE", help="A .csv or, with the images, .parquet file."
        ),
    ],
) -> None:
    """Write the images of a journal with the labels that people gave them.

    There is a row for each label, and one for each image without a label. The column label is what
    a person said, answer what the model said. In a Parquet file, the column image has PNG files.
    """
    from pipeline.journal import labels

    count = labels.export_labels(journal, file)
    print(f"{file}: {count:,} row{'' if count == 1 else 's'}")


@labels_app.command(
    "import", epilog=examples("labels import journal labels.csv --name second-reading")
)
def import_labels(
    context: typer.Context,
    journal: JournalArgument,
    file: Annotated[
        Path,
        typer.Argument(
            parser=named_path,
            metavar="FILE",
            help="A .csv or .parquet file with the columns id and label.",
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Who gives these labels; by default the name of the file. A later import of the "
            "same name replaces its labels.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Add labels from a file to a journal.

    Rows without a label are skipped. If a label or an id is unknown, nothing is imported.
    """
    from pipeline.inference import Classifier
    from pipeline.journal import labels

    workspace = named_workspace(context)
    signature = Classifier(workspace.released_model if workspace else None, threads=1).signature
    valid = (*signature.labels, signature.foreign)
    count = labels.import_labels(journal, file, name or file.stem, valid)
    print(f"{journal}: {count:,} label{'' if count == 1 else 's'} imported from {file}")

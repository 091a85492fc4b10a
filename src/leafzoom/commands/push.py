"""`leafzoom push`: a model to a hub, with its card."""

from __future__ import annotations

from dataclasses import replace

import click

from leafzoom.commands.options import echo_to_stderr
from leafzoom.errors import UsageError
from leafzoom.inference.loading import open_network
from leafzoom.model_file.hub import HubAddress, is_hub_address, upload_to_hub
from leafzoom.model_file.hub_card import LICENCE_FILE, model_card
from leafzoom.model_file.paths import model_path

__all__ = ["push"]

_CARD_FILE = "README.md"


@click.command()
@click.argument("model")
@click.argument("repository")
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    metavar="NAME",
    help="The hub's name of a data set that it was trained on, for the card (may be repeated).",
)
@click.option("--private", is_flag=True, help="A new repository is for its owners alone.")
@click.option("--dry-run", is_flag=True, help="Show the card, and upload nothing.")
def push(
    model: str, repository: str, datasets: tuple[str, ...], private: bool, dry_run: bool
) -> None:
    """Upload MODEL with a model card to a hub.

    MODEL is a run, an .onnx or .safetensors file, or bundled. REPOSITORY is hf://OWNER/NAME; it is
    made if it does not exist. The card has what the file says of labels, scores, data and licence.
    The hub's token is that of the variable HF_TOKEN.

    \b
    Example: leafzoom push runs/first hf://OWNER/apple-leaves --private
             leafzoom push runs/first hf://OWNER/apple-leaves --dry-run
    """
    address = _repository_address(repository)
    if is_hub_address(model):
        raise UsageError(f"{model} is on a hub already: name a run, a file or bundled")

    # A model that does not open is not uploaded.
    manifest = open_network(model).manifest
    path = model_path(model)
    address = replace(address, file=f"model{path.suffix}")  # what an address without a file means
    card = model_card(manifest, address.file, repository.rstrip("/"), datasets=datasets)
    if dry_run:
        click.echo(card, nl=False)
        return

    texts = {_CARD_FILE: card, LICENCE_FILE: f"{manifest.licence}\n"}
    uploaded = upload_to_hub(path, address, texts, private=private)
    echo_to_stderr(f"{path.stat().st_size / 1e6:.1f} MB; load it as")
    click.echo(str(uploaded))


def _repository_address(text: str) -> HubAddress:
    """The address of a repository.

    Raises:
        UsageError: it is none, or it names a revision, a file or a digest.
    """
    try:
        address = HubAddress.parse(text.rstrip("/"))
    except UsageError as error:
        raise UsageError(f"{text} is no repository: write hf://OWNER/NAME") from error
    if address != HubAddress(address.repository):
        raise UsageError(f"{text} names more than a repository: write hf://{address.repository}")
    return address

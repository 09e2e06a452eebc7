"""What can be named in a recipe: captioners, judges, policies."""

from capfilt.models.registry.catalog import ModelCard, cards
from capfilt.pipelines.selection.policies import policy_names


def list_captioners() -> list[ModelCard]:
    """The captioners that are known, those of installed packages included; loads no model.

    A directory, `owner/model`, `python:MODULE:CLASS` or the address of a server is a captioner too.
    """
    return cards("captioner")


def list_judges() -> list[ModelCard]:
    """The judges that are known, those of installed packages included; loads no model."""
    return cards("filter")


def list_policies() -> list[str]:
    """The names that `select.policy` takes; the path of a .sql file is a policy too."""
    return policy_names()

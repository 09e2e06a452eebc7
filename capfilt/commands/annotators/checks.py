"""What is checked before a layer is begun: names, columns, and that a layer begun before is continued as it was."""

from collections.abc import Mapping, Sequence

from capfilt.commands.annotators.asked import ROLES, Annotator
from capfilt.core.config import Recipe
from capfilt.core.errors import ChangedError, ConfigError
from capfilt.ledger.compatibility import changed_recipe
from capfilt.ledger.joined import captions_schema, images_schema
from capfilt.ledger.layers import TABLES, Layer
from capfilt.ledger.layers_of_run import layer_names, layers_of
from capfilt.ledger.ledger import Ledger
from capfilt.models.registry import registry


def check_new(ledger: Ledger, layers: Sequence[Layer]) -> None:
    """Make sure that layers have names of their own, and that new ones give no column that is there already.

    Raises:
        ConfigError: names the layer, and the column.
    """
    known = layer_names(ledger.folder)
    schemas = {"texts": captions_schema(ledger), "images": images_schema(ledger)}
    # SQL does not tell upper case from lower.
    taken = {subject: {column.lower() for column in own.names} for subject, own in schemas.items()}
    for number, layer in enumerate(layers):
        model = layer.facts["annotator"]
        option = next(role.option for role in ROLES.values() if role.subject == layer.subject)
        if layer.name in [other.name for other in layers[:number]]:
            raise ConfigError(f"{option} {model}: another model has the layer {layer.name} already: give it a tag")
        new = layer.name not in known and layer.subject in TABLES  # new captions have the columns of the run
        for column in layer.columns.names if new else ():
            if column.lower() in taken[layer.subject]:
                plain = registry.untagged(model)[1]
                raise ConfigError(
                    f"{option} {model}: the run has a column {column!r} already; "
                    f"a tag tells them apart: {option} TAG={plain} gives {column}_TAG"
                )
            taken[layer.subject].add(column.lower())


def check_same(there: Layer, made: Layer, asked: Annotator) -> None:
    """Refuse other settings than those that a layer was begun with.

    Raises:
        ChangedError: names the setting.
    """
    # Setting by setting and not by identity: a layer may be older than a setting, whose default it was made with.
    section = asked.role.section
    stored, now = there.facts["recipe"], made.facts["recipe"]
    names = {key: now[section][key] for key in asked.role.names}
    change = changed_recipe({**stored, section: stored[section] | names}, now)
    if not change and made.schema != there.schema:
        columns = [", ".join(one.columns.names) for one in (there, made)]
        change = f"has the columns {columns[0]}, now {columns[1]}"
    if not change and there.where != made.where:
        change = f"was made with --where {there.where!r}, now {made.where!r}"
    if change:
        where = f"{there.folder.location}: layer {there.name}"
        raise ChangedError(f"{where}: {change}: give another --name, or --drop {there.name}")


def check_captioner(ledger: Ledger, recipe: Recipe, models: Mapping[str, str]) -> None:
    """Refuse a captioner that would write nothing, or what is there; and other judges than the run's.

    Raises:
        ConfigError: names the setting.
        ChangedError: a judge of the run has other weights now.
    """
    if not recipe.caption.n:
        raise ConfigError("caption.n = 0: the captioner would write nothing: --set caption.n=1")
    for name, digest in models.items():
        if name.startswith("filter ") and ledger.run["models"].get(name) != digest:
            raise ChangedError(f"{ledger.folder.location}: {name}: its weights are not those that scored the run")
    made = [(ledger.run["models"], ledger.run["recipe"])]
    made += [(one.facts["models"], one.facts["recipe"]) for one in layers_of(ledger.folder, "captions")]
    writer = next(digest for name, digest in models.items() if name.startswith("captioner "))
    new = recipe.model_dump(mode="json")["caption"]
    for known, stored in made:
        digests = [digest for name, digest in known.items() if name.startswith("captioner ")]
        same = all(stored["caption"].get(key) == new[key] for key in new if key not in ("captioner", "n"))
        if stored["caption"]["n"] and writer in digests and same:
            raise ConfigError(
                "--captioner: this model has captioned the run with these settings, and would write the same: "
                "--set caption.seed or another setting of [caption]"
            )

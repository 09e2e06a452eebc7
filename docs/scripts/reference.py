"""Writes the pages of docs/reference/ that are made from the code: `make docs-reference`.

A test compares the files with what this makes (tests/docs/test_reference.py). Nothing of it is in the wheel.
"""

import importlib
import inspect
import json
import re
import runpy
import tomllib
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin

import typer
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from capfilt.bootstrap import config as bootstrap
from capfilt.cli import app
from capfilt.core import config, schema
from capfilt.models.registry.catalog import CATALOG
from capfilt.models.systems.registry import SYSTEMS
from capfilt.pipelines.readers import READERS
from capfilt.pipelines.readers.columnar.image_column import IMAGE_NAMES
from capfilt.pipelines.readers.documents.reader import SHAPES
from capfilt.pipelines.readers.rows.columns import PATH_NAMES, URL_NAMES
from capfilt.pipelines.readers.rows.reader import BrokenReader
from capfilt.pipelines.readers.rows.references import IMAGE_EXTENSIONS
from capfilt.pipelines.readers.text.encoding import LIKELY
from capfilt.pipelines.readers.text.hygiene import MISSING
from capfilt.pipelines.readers.text.texts import TEXT_NAMES
from capfilt.pipelines.recipes.load import RECIPES
from capfilt.pipelines.selection.policies import POLICIES, policy_names
from capfilt.pipelines.stages import caption_checks
from capfilt.training import config as training

FOLDER: Final = Path(__file__).resolve().parent.parent / "reference"
BENCH: Final = runpy.run_path(str(Path(__file__).with_name("systems_table.py")))
GENERATED: Final = "<!-- Generated from the code by docs/scripts/reference.py. Do not edit. -->\n"


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def cell(text: str) -> str:
    """Text that is safe in a cell of a Markdown table."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;").strip()


def code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


# The command line


def cli() -> str:
    parts = ["# Command line\n"]
    group: Any = typer.main.get_command(app)
    parts.append(table(("command", "what it does"), _commands(group)))
    for name, command in group.commands.items():
        parts.append(_command(name, command))
    return "\n".join(parts)


def _commands(group: Any) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield f"[`capfilt {name}`](#capfilt-{name})", cell(command.help.split("\n\n")[0])


def _command(name: str, command: Any) -> str:
    context = type(command).context_class(command, info_name=f"capfilt {name}")
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [f"## capfilt {name}\n", inspect.cleandoc(command.help) + "\n", f"    capfilt {name} {usage}\n"]
    for kind, title in (("argument", "argument"), ("option", "option")):
        records = [p.get_help_record(context) for p in command.params if p.param_type_name == kind]
        if rows := [(code(names), cell(text)) for names, text in filter(None, records)]:
            parts.append(table((title, "what it does"), rows))
    return "\n".join(parts)


# Settings


def run_settings() -> str:
    about = (
        "Every setting of a run. Set one in a [recipe](../recipes.md) (`[section]`, then `key = value`), or with\n"
        "`--set section.key=value`. A value that is out of range stops the command before work starts.\n"
    )
    return _settings("Settings of a run", about, config.Recipe)


def train_settings() -> str:
    about = (
        "Every setting of [`capfilt train`](../cli.md#capfilt-train). A section may stand once more under the name of\n"
        "a system: `[med.schedule]` takes precedence over `[schedule]` for `capfilt train med`, and `--set` over\n"
        "both.\n"
    )
    systems = [
        (
            code(system.name),
            system.about,
            ", ".join(code(f"{s}.{k} = {_toml(v)}") for s, k, v in _flat(system.defaults)),
        )
        for system in SYSTEMS.values()
    ]
    rows = table(("system", "it learns", "defaults that differ from those below"), systems)
    return _settings("Settings of a training", f"{about}\n{rows}", training.recipe_type())


def bootstrap_settings() -> str:
    about = "Every setting of [`capfilt bootstrap`](../cli.md#capfilt-bootstrap).\n"
    return _settings("Settings of a bootstrap", about, bootstrap.BootstrapRecipe)


def _flat(settings: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, Any]]:
    for section, values in settings.items():
        for key, value in values.items():
            yield section, key, value


def _settings(title: str, about: str, recipe: type[BaseModel]) -> str:
    own = [field for field in recipe.model_fields.items() if not _is_section(field[1])]
    parts = [f"# {title}\n", about, "## Of the recipe itself\n", _fields("", own)]
    for name, field in recipe.model_fields.items():
        if _is_section(field):
            kind: Any = field.annotation
            parts += [f"## {name}\n", inspect.cleandoc(kind.__doc__ or "") + "\n"]
            parts.append(_fields(f"{name}.", kind.model_fields.items(), field.default))
    return "\n".join(parts)


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _fields(prefix: str, fields: Iterable[tuple[str, FieldInfo]], defaults: Any = None) -> str:
    rows = []
    for name, field in fields:
        default = getattr(defaults, name) if isinstance(defaults, BaseModel) else field.default
        if isinstance(default, BaseModel):
            continue
        text = cell(field.description or "")
        rows.append((code(prefix + name), cell(_type(field)), code(_toml(default)), _sentence(text)))
    return table(("setting", "type and range", "default", "meaning"), rows)


def _sentence(text: str) -> str:
    """With a capital, unless it starts with a name such as `torch.compile`."""
    return text[:1].upper() + text[1:] if re.match(r"[a-z-]+[,;]?( |$)", text) else text


def _type(field: FieldInfo) -> str:
    return ", ".join([_plain(field.annotation), *_range(field.metadata)])


def _plain(kind: Any) -> str:
    """A type in the words of TOML."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(json.dumps(value) for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(map(_plain, arguments))
    if origin is tuple:
        return f"list of {_plain(arguments[0])}"
    if origin is dict:
        return f"table of {_plain(arguments[1])}"
    if hasattr(kind, "__metadata__"):
        return " ".join([_plain(kind.__origin__), *_range(kind.__metadata__)])
    names = {str: "string", int: "integer", float: "number", bool: "true or false", Any: "any value"}
    return names.get(kind) or kind.__name__


def _range(metadata: Iterable[Any]) -> list[str]:
    """Bounds as people write them: `1 to 20`, `> 0`."""
    bounds, found = list(metadata), []
    least = next((bound.ge for bound in bounds if isinstance(bound, Ge)), None)
    most = next((bound.le for bound in bounds if isinstance(bound, Le)), None)
    if least is not None and most is not None:
        found.append(f"{least:,} to {most:,}")
        bounds = [bound for bound in bounds if not isinstance(bound, Ge | Le)]
    for bound in bounds:
        for kind, sign, key in ((Ge, "≥", "ge"), (Gt, ">", "gt"), (Le, "≤", "le"), (Lt, "<", "lt")):
            if isinstance(bound, kind):
                found.append(f"{sign} {getattr(bound, key):,}")
        if isinstance(bound, MinLen):
            found.append(f"at least {bound.min_length}")
        if isinstance(bound, FieldInfo):
            found += _range(bound.metadata)
    return found


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, int):
        return f"{value:_}" if value >= 100_000 else str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(own)}" for key, own in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value) if isinstance(value, str) else "required"


# Recipes, policies, models


def recipes() -> str:
    parts = [
        "# Recipes\n",
        "A recipe is a TOML file of settings. Name one that ships, or give the path of your own:\n"
        '`capfilt run INPUT --out OUT --recipe blip2`. `base = "NAME"` starts from another recipe.\n',
    ]
    folders = (
        ("capfilt run", RECIPES),
        ("capfilt train", RECIPES / "train"),
        ("capfilt bootstrap", RECIPES / "bootstrap"),
    )
    for command, folder in folders:
        parts.append(f"## For {command}\n")
        for path in sorted(folder.glob("*.toml")):
            text = path.read_text()
            lines = [line for line in text.splitlines() if not line.startswith(("about = ", "#:schema"))]
            about = tomllib.loads(text).get("about", "")
            parts += [f"### {path.stem} ({command})\n", f"{about[:1].upper()}{about[1:]}.\n"]
            parts.append("```toml\n" + "\n".join(lines).strip() + "\n```\n")
    return "\n".join(parts)


def policies() -> str:
    parts = [
        "# Policies\n",
        "A policy is one SQL query over `captions` that decides which texts are kept. `select.policy` names one; the\n"
        "settings it reads are parameters, such as `$threshold`, of [the section select](settings/run.md#select).\n"
        "[Add a policy](../guides/extend.md#a-policy) says how to write one.\n",
    ]
    for name in policy_names():
        sql = (POLICIES / f"{name}.sql").read_text()
        comment = re.match(r"((?:--.*\n)*)", sql)
        about = " ".join(line.removeprefix("--").strip() for line in (comment[1] if comment else "").splitlines())
        body = sql[comment.end() if comment else 0 :].strip()
        reads = ", ".join(code(name) for name in _parameters(body)) or "none"
        parts += [f"## {name}\n", about + "\n", f"Settings it reads: {reads}.\n", f"```sql\n{body}\n```\n"]
    return "\n".join(parts)


def _parameters(sql: str) -> list[str]:
    """The settings that a policy reads: its parameters, and the scores that stand under the name of a setting."""
    words = set(re.findall(r"\$(\w+)", sql)) | (set(re.findall(r"\b(judge|judges|first|second)\b", sql)))
    return [f"select.{name}" for name in config.Recipe().select.model_dump() if name in words]


def models() -> str:
    parts = [
        "# Captioners and judges\n",
        "What `capfilt models` lists. `here` ships with capfilt and works on the demo's drawings only; `hub` is read\n"
        "from Hugging Face's cache or downloaded. Any directory, server or Python class works too: see\n"
        "[Extend capfilt](../guides/extend.md). Licenses are those of the model pages; read them before use.\n",
    ]
    for role, title, last in (("captioner", "Captioners", "prompt"), ("filter", "Judges", "columns")):
        cards = [card for card in CATALOG.values() if card.role in (role, "judge" if role == "filter" else role)]
        rows = [(code(c.name), c.parameters, c.license, c.source, _last(c, last)) for c in cards]
        parts += [f"## {title}\n", table(("name", "parameters", "license", "from", last), rows)]
    return "\n".join(parts)


def trained_systems() -> str:
    parts = [
        "# Systems to train\n",
        "What [`capfilt train`](cli.md#capfilt-train) can train. It reads the `corpus/` of a run, or Parquet with the\n"
        "column that the table names beside `image`; `talks` are the column `questions` or a table of talks.\n"
        "[All settings](settings/train.md), and [what each learns in minutes](#what-each-learns-in-minutes).\n",
    ]
    rows = [
        (
            code(system.name),
            system.about,
            code(system.reads),
            " and ".join("judge" if role == "filter" else role for role in system.roles),
            code(f"capfilt train {system.name} DATA --out DIR {system.example}".strip()),
            BENCH["seconds"](system.name),
        )
        for system in SYSTEMS.values()
    ]
    parts.append(table(("system", "learns", "column", "in a run", "command", "CPU time (steps x batch)"), rows))
    parts += _learned()
    for package in dict.fromkeys(system.package for system in SYSTEMS.values()):
        about = inspect.cleandoc(importlib.import_module(f"capfilt.models.systems.{package}").__doc__ or "")
        first, _, rest = about.partition("\n\n")
        names = ", ".join(system.name for system in SYSTEMS.values() if system.package == package)
        parts += [f"## {names}\n", f"{first}\n", *([f"{rest}\n"] if rest else [])]
    return "\n".join(parts)


def _learned() -> Iterator[str]:
    yield "## What each learns in minutes\n"
    yield (
        "`make bench-systems` trains them small, on drawn images of 48 pixels or on photographs of 64, and measures\n"
        "them on others. A twin is the same training without what it should need, and must do worse. CPU seconds are\n"
        "those of one thread, beside other work on the machine.\n"
    )
    yield table(("training", "steps x batch", "CPU s", "on images it has not seen"), list(BENCH["learned"]()))
    yield f"{BENCH['made']()}. All figures: `tests/bench/systems/results.json`.\n"


def inputs() -> str:
    parts = [
        "# Input formats\n",
        "What INPUT of `capfilt run` can be. Every format may also lie in a bucket. `input.url` and `input.text` name\n"
        "the columns; by default they are guessed. [Add a reader](../guides/extend.md#a-reader) for another format.\n",
    ]
    rows = [
        (code(reader.name), cell(reader.about), " ".join(code(f".{suffix}") for suffix in reader.suffixes))
        for reader in READERS.values()
        if not isinstance(reader, BrokenReader)
    ]
    parts.append(table(("format", "what is read", "suffixes"), rows))
    parts.append(
        "Lists, documents and shards may be packed (gzip, bzip2, xz, zstd): told by the first bytes, not the name.\n"
        "Braces work as in a shell and in webdataset: `'s3://bucket/{00000..00099}.tar'`.\n"
    )
    parts += [*_shapes(), *_columns(), *_rules()]
    return "\n".join(parts)


def _shapes() -> Iterator[str]:
    yield "## JSON documents\n"
    yield "One document with many rows is recognized by its shape.\n"
    yield table(
        ("shape", "example"),
        [(cell(shape.about), code(json.dumps(shape.example, ensure_ascii=False))) for shape in SHAPES],
    )


def _columns() -> Iterator[str]:
    yield "## Columns\n"
    yield (
        "Without `input.url` and `input.text` the first of these names that a file has is taken, in any case; where\n"
        "its URLs are of pages, a column beside it whose URLs all end like images is taken instead.\n"
        "Numbered columns (`caption_0`, `caption_1`, ...) are all taken; `input.text` also takes a list and patterns.\n"
    )
    names = (("URL", URL_NAMES), ("path, or the image in base64", PATH_NAMES), ("image bytes", IMAGE_NAMES))
    rows = [(what, " ".join(map(code, some))) for what, some in (*names, ("text", TEXT_NAMES))]
    yield table(("column", "names"), rows)


def _rules() -> Iterator[str]:
    missing = " ".join(code(word) for word in sorted(MISSING))
    images = " ".join(code(f".{suffix}") for suffix in sorted(IMAGE_EXTENSIONS))
    likely = " ".join(map(code, LIKELY))
    yield "## Rules\n"
    yield "\n".join(
        [
            f"- **Images** end in {images}.",
            "  HEIC needs the extra `capfilt[heif]`, JPEG XL `capfilt[jxl]`; SVG is not read.",
            "- **What a folder holds is read or named.** `capfilt run` prints what it skips and why before it starts;",
            "  `run.toml`, `capfilt status` and the report keep it. A symbolic link out of the folder is skipped.",
            "- **Paths** are relative to the list. If none is there, capfilt looks for the folders below INPUT that",
            "  have them, up to eight, and leaves off leading folders of the list that do not exist. Names from",
            "  Windows, out of URLs (`%20`), in another Unicode form or case, or without a suffix find their file.",
            "  Where two folders hold one name, nothing is guessed: the row is `missing_file`. No path leaves them.",
            "- **Texts beside images** have the image's name with another suffix, or one more: `a.txt` or `a.jpg.txt`.",
            "- **JSON is JSON** and Parquet is Parquet whatever the suffix says.",
            "- **A sample of a shard** is cut at the first dot of its names, as webdataset does. Where this would mix",
            "  images, the whole shard is cut at the last dot: a text goes only to the image of the same stem.",
            "  A hard link is the file that it names; a symbolic link is `missing_file`.",
            "- **Several images in one sample** fail as `bad_row`: the text may be about any of them.",
            f"- **A missing value** is no text: NaN, null, an empty string, and {missing};",
            "  nor is what has no letter, digit or emoji outside HTML tags, as `-` or `<br>`.",
            "- **Encodings** are told by the bytes: UTF-8, UTF-16, UTF-32, or",
            f"  {likely}. Where two of them fit, the run stops and names `input.encoding`.",
            "- **Text tables** are read by the delimiter, quotes and escapes under which most rows hold a URL or",
            "  path; `input.delimiter`, `input.quote` and `input.header` override that. A row that does not parse",
            "  is a `bad_row`.",
            "- **Rows of one image** become one row with all their texts (`input.merge`).",
            "",
        ]
    )


def _last(card: Any, name: str) -> str:
    value = getattr(card, name)
    return cell(value) if isinstance(value, str) else " ".join(map(code, value))


# Tables and reasons

TABLES: Final = (
    ("images", "IMAGES", "An image that decoded."),
    (
        "captions",
        "CANDIDATE",
        "One candidate text of an image. A judge adds a `float` column for each of its scores.",
    ),
    ("failures", "FAILURES", "An input row that did not become an image. The reasons are [listed here](reasons.md)."),
    ("decisions", "DECISIONS", "A candidate text, kept or dropped."),
    ("commits", "COMMITS", "A chunk. Its row is written last: without it the chunk does not count."),
    ("duplicates", "DUPLICATE_IMAGES", "An image that looks like another one. `capfilt dedup` writes it."),
    (
        "duplicate_captions",
        "DUPLICATE_CAPTIONS",
        "A text that says the same as another. `capfilt dedup` writes it.",
    ),
)


def tables() -> str:
    parts = [
        "# Tables of a run\n",
        "All are Parquet. `capfilt query OUT SQL` sees each under its name. `corpus` has one row for each image with\n"
        "a kept text: `uid`, `image`, `width`, `height`, `captions` (a list of text, source and scores, best first)\n"
        "and `text` (the best one). A layer of `capfilt annotate` adds its columns to `captions` or `images`.\n",
    ]
    for name, constant, about in TABLES:
        found: Any = getattr(schema, constant)
        notes = _comments(constant) | (_comments("IMAGE_FACTS") if name == "images" else {})
        fields = [(code(f.name), code(str(f.type)), cell(notes.get(f.name, ""))) for f in found]
        parts += [f"## {name}\n", f"One row is: {about[:1].lower()}{about[1:]}\n"]
        parts.append(table(("column", "type", "note"), fields))
        if name == "captions":
            parts += ["Flags are facts about a text; `select.flags` names those that drop it:\n", _flags()]
    return "\n".join(parts)


def _flags() -> str:
    """The table of flags in the docstring of the module that gives them."""
    return "\n".join(re.findall(r"^\|.*", inspect.getdoc(caption_checks) or "", re.MULTILINE)) + "\n"


def _comments(constant: str) -> dict[str, str]:
    """The comments behind the fields of a schema, by the name of the field."""
    source = inspect.getsource(schema)
    block = re.search(rf"^{constant}: Final = .*?^[\])}}]", source, re.MULTILINE | re.DOTALL)
    lines = block[0].splitlines() if block else []
    found = (re.search(r"\"(\w+)\".*?#\s*(.*)$", line) for line in lines)
    return {match[1]: match[2] for match in found if match}


def reasons() -> str:
    parts = [
        "# Failure reasons\n",
        "Why an input row did not become an image: the column `reason` of [failures](tables.md#failures).\n"
        "`capfilt retry OUT` fetches the *retryable* ones again, and `--reason` names others. A *final* reason lies\n"
        "in the input or in an owner's request: `retry` refuses it.\n",
    ]
    rows = [
        (code(r.value), r.stage, cell(r.meaning), _yes(r.has(schema.Trait.RETRYABLE)), _yes(r.has(schema.Trait.FINAL)))
        for r in schema.Reason
    ]
    parts.append(table(("reason", "stage", "meaning", "retryable", "final"), rows))
    return "\n".join(parts)


def _yes(value: bool) -> str:
    return "yes" if value else ""


PAGES: Final[dict[str, Callable[[], str]]] = {
    "cli.md": cli,
    "settings/run.md": run_settings,
    "settings/train.md": train_settings,
    "settings/bootstrap.md": bootstrap_settings,
    "recipes.md": recipes,
    "policies.md": policies,
    "models.md": models,
    "systems.md": trained_systems,
    "inputs.md": inputs,
    "tables.md": tables,
    "reasons.md": reasons,
}


def page(name: str) -> str:
    """The text of a generated page."""
    return PAGES[name]().rstrip() + "\n\n" + GENERATED


if __name__ == "__main__":
    for name in PAGES:
        (FOLDER / name).write_text(page(name), encoding="utf-8")

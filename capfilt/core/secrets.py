"""What looks like a secret, by its name or by its value, and the text without it."""

import re
from collections.abc import Mapping
from typing import Any, Final

HIDDEN: Final = "***"

_NAME: Final = re.compile(r"key|secret|token|passw|credential|signature|\bsig\b|\bauth", re.IGNORECASE)
_HARMLESS: Final = ("score.token", "endpoint.key_env", "caption.max_tokens", "caption.min_tokens", "max_tokens")
"""Settings that are called like a secret and hold none: the first token of ITM, the name of a variable, lengths."""
_VALUES: Final = (
    re.compile(r"(?<=://)[^/\s@'\"]+(?=@)"),  # user:password@ of a URL
    re.compile(r"(?i)(?<=[?&])[\w.-]*(?:key|token|sig|signature|secret|password|credential)[\w.-]*=[^&\s'\"]+"),
    re.compile(r"\b(?:sk|pk|rk)-[\w-]{16,}"),  # OpenAI and servers of its protocol
    re.compile(r"\bhf_[A-Za-z0-9]{20,}"),  # Hugging Face
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),  # AWS
    re.compile(r"\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}"),
    re.compile(r"\bAIza[\w-]{30,}"),  # Google
    re.compile(r"\bxox[abprs]-[\w-]{10,}"),  # Slack
    re.compile(r"\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*"),  # JSON Web Tokens: {" in base64 is eyJ
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"),
)


def is_secret_name(name: str) -> bool:
    """Whether a setting of that name may hold a secret."""
    return name not in _HARMLESS and bool(_NAME.search(name))


def redact(text: str) -> str:
    """A text with `***` where it holds what looks like a key or a password."""
    for pattern in _VALUES:
        text = pattern.sub(HIDDEN, text)
    return text


def redact_setting(change: str) -> str:
    """`name=value` as it may stand in a message: of a secret name, the name alone."""
    name, sign, value = change.partition("=")
    return f"{name}{sign}{HIDDEN if is_secret_name(name.strip()) and value else redact(value)}"


def has_secret_setting(change: str) -> bool:
    """Whether `name=value` sets a secret, by its name or by what stands in it, `env_vars` included."""
    return "env_vars" in change or redact_setting(change) != change


def without_secret_settings(settings: Any) -> Any:
    """Nested settings without those that hold a secret; environment variables are left out, whatever they hold."""
    if isinstance(settings, Mapping):
        kept = {key: value for key, value in settings.items() if key != "env_vars" and not is_secret_name(str(key))}
        return {key: without_secret_settings(value) for key, value in kept.items()}
    if isinstance(settings, list | tuple):
        return [without_secret_settings(value) for value in settings]
    return redact(settings) if isinstance(settings, str) else settings

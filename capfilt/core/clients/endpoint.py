"""Settings of requests to a model server; `config.EndpointSettings` checks them and takes its defaults from here."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """How a server that speaks OpenAI's protocol is asked; `config.EndpointSettings` documents each field."""

    model: str = ""
    key_env: str = ""
    concurrency: int = 16
    retries: int = 4
    backoff: float = 1.0  # seconds
    timeout: float = 120.0  # seconds
    logprobs: bool = True

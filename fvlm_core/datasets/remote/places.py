"""Where an address is asked for, and what is said there to be let in. Nothing of this is kept or printed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen

from fvlm_core.utils.address import Address
from fvlm_core.utils.errors import UsageError

KEPT = 300.0
"""Seconds for which a signed URL is used again; it is valid for an hour."""

_SIGNED = 3600

_HUB_HOSTS = (".huggingface.co", ".hf.co")
"""Ends of the names of the hosts that the hub's files lie on, as it redirects to."""


@frozen
class Place:
    """What to ask for. headers: with what lets one in. may_lead: whether a redirect to a URL is followed; what lets one
    in is not sent there."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(factory=dict[str, str], repr=False)
    may_lead: Callable[[str], bool] = lambda url: False


def place_of(address: Address) -> Place:
    """Where an address is asked for now. Raises `UsageError` where something that it needs is not there."""
    if address.scheme == "s3":
        return Place(_signed(address, int(time.monotonic() / KEPT)))
    if address.scheme == "hf":
        return _on_the_hub(address)
    return Place(address.url, _from_netrc(urlsplit(address.url).hostname or ""))


@cache
def _client() -> Any:
    """Signs, and connects to nothing: made once, and used by every process that is forked later."""
    try:
        import botocore.session
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise UsageError("s3:// needs botocore: pip install 'fvlm[s3]'") from None
    try:
        session = botocore.session.get_session()
        found = session.get_credentials()  # a bucket that is open to all is read without
        return session.create_client("s3", config=Config(signature_version="s3v4" if found else UNSIGNED))
    except (BotoCoreError, ValueError) as error:
        raise UsageError(f"s3://: {error}: see the settings of AWS (AWS_PROFILE, ~/.aws/config)") from None


@cache
def _signed(address: Address, now: int) -> str:
    """The URL of an object. now: changes when it has to be made anew."""
    from botocore.exceptions import BotoCoreError

    bucket, _, key = address.removeprefix("s3://").partition("/")
    client = _client()
    try:
        return client.generate_presigned_url("get_object", {"Bucket": bucket, "Key": key}, ExpiresIn=_SIGNED)
    except (BotoCoreError, ValueError) as error:  # what is told of credentials names no secret of theirs
        raise UsageError(f"{address}: {error}") from None


def _on_the_hub(address: Address) -> Place:
    from huggingface_hub import constants, get_token, hf_hub_url

    if constants.HF_HUB_OFFLINE:
        raise UsageError(f"{address}: HF_HUB_OFFLINE is set, so that nothing is read from the hub")
    _, owner, name, *rest = address.removeprefix("hf://").split("/")
    name, _, revision = name.partition("@")
    url = hf_hub_url(f"{owner}/{name}", "/".join(rest), repo_type="dataset", revision=revision or None)
    hub = urlsplit(url)

    def may_lead(to: str) -> bool:
        target = urlsplit(to)
        same = (target.scheme, target.netloc) == (hub.scheme, hub.netloc)
        return same or (target.scheme == "https" and f".{target.hostname}".endswith(_HUB_HOSTS))

    token = get_token()  # `build_hf_headers` of 2.4 asks the hub for a list first, to say who asks
    return Place(url, {"Authorization": f"Bearer {token}"} if token else {}, may_lead)


@cache
def _from_netrc(host: str) -> dict[str, str]:
    """What ~/.netrc (or NETRC) says for a host."""
    import netrc
    import os

    from urllib3.util import make_headers

    try:
        found = netrc.netrc(os.environ.get("NETRC") or None).authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return {}
    return make_headers(basic_auth=f"{found[0]}:{found[2]}") if found else {}

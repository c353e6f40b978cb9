"""Settings from PHOTOPROC_* environment variables: built once, passed in."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

import limits
import platformdirs
from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from photoproc import machine
from photoproc.models import providers
from photoproc.models.catalogue import CATALOGUE

MIB = 1024 * 1024


_MIN_KEY = 16
_NAME = re.compile(r"[\w.@-]{1,60}")
_CLUSTER = re.compile(r"dask://([\w.-]+|\[[\da-fA-F:.]+\]):\d{1,5}")
_NEEDS = re.compile(r"[\w.-]+=\w+")


def _api_keys(given: SecretStr) -> list[tuple[str, str]]:
    pairs = [part.strip() for part in given.get_secret_value().split(",") if part.strip()]
    return [(name.strip(), key.strip()) for name, _, key in (pair.partition(":") for pair in pairs)]


def _parts(given: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in given.split(",") if part.strip())


def _default_children() -> int:
    return min(machine.cores(), 4)


class Settings(BaseSettings):
    """Every knob, with its default. The README lists them for users."""

    model_config = SettingsConfigDict(env_prefix="PHOTOPROC_", frozen=True, extra="ignore")

    data_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("photoproc"))
    model_dir: Path | None = None
    """Where weights are looked for and written; None means rembg's own folder."""
    default_model: str = "u2net"
    fetch_default_model: bool = True
    offline: bool = False
    """True: never ask the network for weights."""

    max_concurrent: int = Field(default_factory=_default_children, ge=1, le=8)
    task_timeout_s: float = Field(default=300.0, gt=0)
    child_memory_mb: int = Field(default=0, ge=0)
    """Address space a child may use; 0 means no limit."""
    max_attempts: int = Field(default=3, ge=1)
    engine: str = "local"
    """Where tasks run: `local`, or the scheduler of a Dask cluster, `dask://host:port`."""
    cluster_resources: str = ""
    """Which Dask resource a model needs of a worker: `model=RESOURCE` pairs, separated by commas."""
    provider: str = "auto"
    """What models are to run on: one of `providers.NAMES`."""
    provider_required: bool = False
    """True: a model fails rather than run on anything else."""
    gpu_memory_mb: int = Field(default=0, ge=0)
    """What each loaded model may take of a graphics card's memory; 0 means no bound."""
    gpu_batch: int = Field(default=4, ge=1, le=64)
    """Photos that a graphics card is given for one run at most."""
    lease_s: float = Field(default=10.0, gt=0)
    """A server that has not shown a heartbeat for this long loses its running tasks."""

    max_request_mb: int = Field(default=10_240, ge=1)
    max_file_mb: int = Field(default=200, ge=1)
    max_photo_megapixels: float = Field(default=50.0, gt=0)
    max_photos_per_job: int = Field(default=10_000, ge=1)
    max_archive_mb: int = Field(default=4_096, ge=1)
    max_archive_entries: int = Field(default=10_000, ge=1)
    max_archive_expanded_mb: int = Field(default=8_192, ge=1)
    max_archive_ratio: float = Field(default=200.0, gt=1)
    min_free_disk_mb: int = Field(default=200, ge=0)
    quota_mb: int = Field(default=0, ge=0)
    """How much the data folder may hold; 0 means as much as the disk has."""
    retention_days: float = Field(default=14.0, ge=0)
    """How long finished jobs are kept; 0 means until somebody deletes them."""
    link_lifetime_s: int = Field(default=12 * 3600, ge=10)

    api_keys: SecretStr = SecretStr("")
    """Who may call the API from elsewhere: `name:key` pairs, separated by commas."""
    allow_anonymous: bool = False
    """True: may listen beyond localhost though anybody there can use it."""
    sign_in: bool = False
    """True: people sign in. Set by the program where `.streamlit/secrets.toml` says with whom."""
    admins: str = ""
    """Addresses of those who see everybody's jobs once people sign in, separated by commas."""
    trust_addresses: bool = False
    """True: e-mail addresses are believed that the provider does not call verified."""
    allowed_hosts: str = ""
    """Names the server is called by besides its own, separated by commas; `*` for any."""
    allowed_origins: str = ""
    """Origins of other sites whose pages may call the API, separated by commas."""
    rate_limit: str = "600/minute"
    """Calls of one API key."""
    max_queued_tasks_per_key: int = Field(default=20_000, ge=1)
    remove_timeout_s: float = Field(default=60.0, gt=0)
    """How long `POST /remove` waits for the picture."""

    @field_validator("data_dir", "model_dir")
    @classmethod
    def _absolute(cls, folder: Path | None) -> Path | None:
        return None if folder is None else folder.expanduser().absolute()

    @field_validator("default_model")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in CATALOGUE:
            raise ValueError(f"there is no such model; choose one of {', '.join(CATALOGUE)}")
        return name

    @field_validator("engine")
    @classmethod
    def _somewhere(cls, given: str) -> str:
        if given == "local":
            return given
        if not _CLUSTER.fullmatch(given):
            raise ValueError("write local, or dask://host:port")
        if find_spec("distributed") is None:
            raise ValueError("this needs Dask: pip install -r requirements-cluster.txt")
        return given

    @field_validator("cluster_resources")
    @classmethod
    def _needs(cls, given: str) -> str:
        if not all(_NEEDS.fullmatch(pair) for pair in _parts(given)):
            raise ValueError("write model=RESOURCE pairs with commas between")
        return given

    @field_validator("provider")
    @classmethod
    def _provider(cls, given: str) -> str:
        if given not in providers.NAMES:
            raise ValueError(f"write one of {', '.join(providers.NAMES)}")
        return given

    @field_validator("provider_required")
    @classmethod
    def _which(cls, given: bool, told: ValidationInfo) -> bool:
        if given and told.data.get("provider") == "auto":
            raise ValueError("say which one in PHOTOPROC_PROVIDER")
        return given

    @field_validator("api_keys")
    @classmethod
    def _pairs(cls, given: SecretStr) -> SecretStr:
        pairs = _api_keys(given)
        if any(not _NAME.fullmatch(name) or len(key) < _MIN_KEY for name, key in pairs):
            raise ValueError(
                "write name:key pairs with commas between; a name has letters, digits and . _ @ -, "
                f"a key {_MIN_KEY} letters or more"
            )
        if len({name for name, _ in pairs}) < len(pairs):
            raise ValueError("two keys have the same name")
        return given

    @field_validator("rate_limit")
    @classmethod
    def _rate(cls, given: str) -> str:
        try:
            limits.parse(given)
        except ValueError as error:
            raise ValueError("write how many calls in what time, such as 600/minute or 10/second") from error
        return given

    @property
    def keys(self) -> Mapping[str, str]:
        """The API keys by the name of whom each belongs to."""
        return dict(_api_keys(self.api_keys))

    @property
    def needs(self) -> Mapping[str, str]:
        """The Dask resource of each model in `cluster_resources`."""
        return dict(pair.split("=") for pair in _parts(self.cluster_resources))

    @property
    def provider_choice(self) -> providers.Choice:
        """What models are to run on."""
        return providers.Choice(
            name=self.provider, required=self.provider_required, memory_mb=self.gpu_memory_mb
        )

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins in `allowed_origins`."""
        return tuple(part.strip().rstrip("/") for part in self.allowed_origins.split(",") if part.strip())

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names in `allowed_hosts`."""
        return _parts(self.allowed_hosts)

    @property
    def admin_names(self) -> frozenset[str]:
        """The names in `admins`, as `named` in `photoproc.ui.visitor` makes them."""
        return frozenset(part.strip().casefold() for part in self.admins.split(",") if part.strip())

    @property
    def threads_per_child(self) -> int:
        """Inference threads of one child: the cores shared out, at least one."""
        return max(1, machine.cores() // self.max_concurrent)

    @property
    def max_pixels(self) -> int:
        """The largest photo accepted, in pixels."""
        return int(self.max_photo_megapixels * 1_000_000)


def misspelt(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that looks like a setting and is none, with what was probably meant."""
    fields = [field for field in Settings.model_fields if field != "sign_in"]
    told = []
    for name in sorted(environment):
        prefix, _, field = name.lower().partition("_")
        if prefix == "photoproc" and field not in fields and not field.startswith("test_"):
            near = get_close_matches(field, fields, 1)
            meant = f" Was PHOTOPROC_{near[0].upper()} meant?" if near else ""
            told.append(f"{name} is no setting and is ignored.{meant}")
    return told

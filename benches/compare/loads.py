"""The loads: one row each. Knows nothing of processes or proxies.

Keys are `<family>:<12 digits>`, as redis-benchmark writes `__rand_int__`, so they spread over all slots.
Every family is stored beforehand, so a read always finds its value.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Family:
    """Keys with values of one size. `count` keys of `value_bytes` each are stored before the first round."""

    name: str
    value_bytes: int
    count: int

    def value(self) -> bytes:
        return b"x" * self.value_bytes


SMALL = Family("key", 64, 50_000)
PAGE = Family("page", 16 * 1024, 1_000)
BLOB = Family("blob", 1024 * 1024, 16)
FAMILIES = (SMALL, PAGE, BLOB)


@dataclass(frozen=True)
class Load:
    """One redis-benchmark run.

    `share` is the fraction of `--requests` that is sent, so that every load takes about as long.
    `idle` clients stay connected and silent meanwhile.
    `fan_out`: messages are published and heard through the target meanwhile.
    `goals` are the highest ratios wanted of slotcar's CPU per request to a peer's.
    """

    name: str
    words: tuple[str, ...]
    share: float
    family: Family = SMALL
    clients: int = 50
    pipeline: int = 1
    idle: int = 0
    fan_out: bool = False
    goals: dict[str, float] = field(default_factory=dict)

    def requests(self, of_a_plain_get: int) -> int:
        return max(self.clients, int(of_a_plain_get * self.share))

    def suits(self, target: str, clients_max: int) -> bool:
        return self.clients <= clients_max and not (self.fan_out and target not in KNOWS_CHANNELS)

    def description(self) -> str:
        keys = sum(word == "KEY" for word in self.words)
        parts = [f"{self.words[0].upper()}{f' of {keys} keys' if keys > 1 else ''}", f"{self.family.value_bytes} bytes"]
        parts.append(f"{self.clients} connection{'s' if self.clients > 1 else ''}")
        parts += [f"pipeline {self.pipeline}"] if self.pipeline > 1 else []
        parts += [f"{self.idle} idle clients"] if self.idle else []
        parts += ["with Pub/Sub beside it"] if self.fan_out else []
        return ", ".join(parts)

    def arguments(self, requests: int) -> list[str]:
        """What follows `redis-benchmark -h … -p …`. A value, always last, comes from standard input."""
        options = ["-n", str(requests), "-c", str(self.clients), "-P", str(self.pipeline)]
        options += ["-r", str(self.family.count), "--csv"]
        words = [word.replace("KEY", f"{self.family.name}:__rand_int__") for word in self.words]
        if words[-1] == "VALUE":
            options.append("-x")
            words.pop()
        value = self.family.value().decode()
        return options + [value if word == "VALUE" else word for word in words]

    def standard_input(self) -> bytes:
        return self.family.value() if self.words[-1] == "VALUE" else b""


# The others refuse SUBSCRIBE.
KNOWS_CHANNELS = ("direct", "slotcar")

GET, SET = ("get", "KEY"), ("set", "KEY", "VALUE")
MGET10, MSET10 = ("mget",) + ("KEY",) * 10, ("mset",) + ("KEY", "VALUE") * 10

LOADS = {
    load.name: load
    for load in (
        Load("get", GET, 1.0, goals={"envoy": 0.65, "nutcracker": 0.90}),
        Load("set", SET, 1.0, goals={"envoy": 0.65, "nutcracker": 0.90}),
        Load("get_p16", GET, 5.0, pipeline=16, goals={"envoy": 0.36, "nutcracker": 0.50}),
        Load("set_p16", SET, 5.0, pipeline=16, goals={"envoy": 0.36, "nutcracker": 0.50}),
        Load("mget10", MGET10, 0.5, goals={"envoy": 0.50, "nutcracker": 0.90}),
        Load("mset10", MSET10, 0.5, goals={"envoy": 0.50, "nutcracker": 1.00}),
        Load("get16k", GET, 0.5, family=PAGE, goals={"envoy": 0.75, "nutcracker": 0.85}),
        Load("set16k", SET, 0.5, family=PAGE, goals={"envoy": 0.75, "nutcracker": 0.85}),
        Load("get_c1", GET, 0.3, clients=1),
        Load("set_c1", SET, 0.3, clients=1),
        Load("get_c500", GET, 1.0, clients=500, goals={"envoy": 0.70, "nutcracker": 0.90}),
        Load("set_c500", SET, 1.0, clients=500),
        Load("get_p64", GET, 8.0, pipeline=64),
        Load("set_p64", SET, 8.0, pipeline=64),
        Load("get1m", GET, 0.01, family=BLOB, clients=10),
        Load("set1m", SET, 0.01, family=BLOB, clients=10),
        Load("get_idle2000", GET, 1.0, idle=2000),
        Load("get_pubsub", GET, 1.0, fan_out=True),
    )
}

DEFAULT = "get,set,get_p16,set_p16,mget10,mset10,get16k,set16k,get_c1,get_c500"

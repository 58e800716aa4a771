"""Serves the status page with made-up status JSON, to work on the page and to test it without a cluster.

    python3 tests/page/mock.py [PORT]        then open http://127.0.0.1:PORT/cluster/

Each scenario has a path of its own, so the page is behind a prefix; / lists them. Time goes on by one second with each
/status that is asked for, so a browser in a hurry sees two minutes in one. Tests change what it answers by
POST /SCENARIO/answer/{ok,hang,error,garbage,close}, and go to a second by POST /SCENARIO/at/SECOND.
"""

import json
import math
import random
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "src/admin/page.html"
# What slotcar sends with the page.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
BOUNDS = [digit * 10.0**exponent for exponent in range(-6, 2) for digit in (1, 2, 5)][4:23]
SLOTS = 16384
# Second of the failover, and how long it takes.
FAILOVER, HELD = 70, 3


def histogram():
    return [0] * (len(BOUNDS) + 1)


def cut(median, spread):
    """What part of a log-normal distribution falls into each bucket."""
    below = [0.5 * (1 + math.erf(math.log(bound / median) / spread / math.sqrt(2))) for bound in BOUNDS]
    return [high - low for low, high in zip([0.0, *below], [*below, 1.0])]


def add(counts, parts, number, chance):
    for index, part in enumerate(parts):
        expected = number * part
        counts[index] += int(expected) + (chance.random() < expected % 1)


class Node:
    def __init__(self, name, role, primary, slots, weight, chance):
        self.name, self.role, self.primary, self.slots, self.weight = name, role, primary, slots, weight
        self.up, self.trouble, self.requests, self.latency = True, None, 0, histogram()
        self.parts = cut(0.00018 * chance.uniform(0.8, 1.6), 0.45)
        self.keys = chance.randrange(100_000, 900_000)
        self.hits, self.misses, self.evicted = 40 * self.keys, chance.randrange(9 * self.keys), chance.choice([0, 0, 1200])

    def status(self, second):
        info = {
            "age_seconds": second % 30 + 0.2, "memory_used_bytes": self.keys * 2100, "memory_max_bytes": 4 << 30, "clients": 14,
            "hits": self.hits, "misses": self.misses, "keys": self.keys, "evicted_keys": self.evicted, "commands": self.hits * 2,
        }
        return {
            "node": self.name, "role": self.role, "primary": self.primary, "slots": self.slots, "up": self.up, "trouble": self.trouble,
            "requests": self.requests, "latency": self.latency, "info": info if self.up else None,
        }


class Service:
    def __init__(self, kind, listen, upstream, nodes, load, chance):
        self.kind, self.listen, self.upstream, self.nodes, self.load, self.chance = kind, listen, upstream, nodes, load, chance
        self.reasons, self.unserved, self.held, self.blocked, self.sessions = [], [], 0, 1, 24
        self.totals = dict.fromkeys(["requests", "errors", "failed", "redirections", "client_bytes_in", "client_bytes_out"], 0)
        self.wait, self.node, self.slotcar = histogram(), histogram(), histogram()
        self.commands = [
            ["get", 0.62, cut(0.0002, 0.45), histogram(), 0], ["set", 0.2, cut(0.00024, 0.5), histogram(), 0],
            ["hgetall", 0.1, cut(0.0006, 0.8), histogram(), 0], ["mget", 0.06, cut(0.0009, 0.5), histogram(), 0],
            ["zrangebyscore", 0.02, cut(0.004, 1.2), histogram(), 0],
        ]
        self.hot_keys = [("session:9f2c", 0.124, "get"), ("config:flags", 0.081, "hgetall"), ("user:1", 0.022, "get"), ("queue:mail", 0.009, "lpush")]
        self.large_values = [("report:2026-11", 9_437_184, "get"), ("feed:all", 1_048_576, "set"), ("blob", 311_296, "get")]
        self.slow = []
        self.clients = [
            {"id": index + 7, "address": f"127.0.0.1:{50000 + 13 * index}", "name": ["", "web", "worker"][index % 3], "age_seconds": 40 * index + 3,
             "idle_seconds": [0, 0, 4, 90][index % 4], "database": 0, "protocol": 2 + (index % 5 == 0), "command": ["get", "set", "hgetall", "blpop"][index % 4]}
            for index in range(24)
        ]

    def tick(self, second, now_ms):
        chance, held_before = self.chance, self.held
        load = self.load * (1 + 0.25 * math.sin(second / 17) + chance.uniform(-0.06, 0.06))
        primaries = [node for node in self.nodes if node.role == "primary" and node.slots]
        weights = sum(node.weight for node in primaries) or 1
        self.held, answered = 0, 0
        for node in primaries:
            number = int(load * node.weight / weights)
            if not node.up:
                self.held = min(held_before + number // 12, 600)
                continue
            node.requests += number
            add(node.latency, node.parts, number, chance)
            add(self.node, node.parts, number, chance)
            node.hits += int(number * 0.8)
            node.misses += int(number * 0.1)
            answered += number
        add(self.wait, cut(0.000018, 0.7), answered, chance)
        add(self.slotcar, cut(0.000024, 0.5), answered, chance)
        if held_before and not self.held:
            add(self.wait, cut(2.2, 0.3), held_before, chance)
        self.totals["requests"] += answered
        self.totals["errors"] += chance.random() < 0.05
        self.totals["failed"] += 4 if held_before else 0
        self.totals["redirections"] += 2 if held_before and not self.held else 0
        self.totals["client_bytes_in"] += answered * 61
        self.totals["client_bytes_out"] += answered * 340
        for command in self.commands:
            number = max(int(answered * command[1] / 128), chance.random() < command[1])
            add(command[3], command[2], number, chance)
            command[4] += number
        if second % 9 == 0 and primaries:
            us = int(10_000 * chance.lognormvariate(0.4, 0.6)) + 10_000
            waited = us // 2 if second % 27 == 0 else 30
            self.slow.append({
                "id": len(self.slow) + 1, "at_ms": now_ms, "duration_us": us, "wait_us": waited, "node_us": us - waited - 40,
                "node": chance.choice(primaries).name, "request": chance.choice(["ZRANGEBYSCORE board -inf +inf", "HGETALL config:flags", "KEYS session:*"]),
                "client": "127.0.0.1:50013", "client_name": "",
            })

    def status(self, second):
        return {
            "listen": self.listen, "upstream": self.upstream, "kind": self.kind, "ready": not self.reasons, "reasons": self.reasons,
            "sessions": self.sessions, "blocked": self.blocked, "links": 2 * len(self.nodes), "held": {"requests": self.held, "bytes": self.held * 70},
            "totals": self.totals, "latency": {"bounds": BOUNDS, "wait": self.wait, "node": self.node, "slotcar": self.slotcar},
            "nodes": [node.status(second) for node in self.nodes], "unserved": self.unserved, "clients": self.clients,
            "hot_keys": [{"key": key, "share": share, "command": command} for key, share, command in self.hot_keys],
            "large_values": [{"key": key, "bytes": size, "command": command} for key, size, command in self.large_values],
            "commands": [{"command": row[0], "sampled": row[4], "latency": row[3]} for row in self.commands],
            "slow": self.slow[-128:],
        }


class Scenario:
    """A slotcar with one service before a cluster, where a primary dies; others change what `build` makes."""

    def __init__(self):
        self.chance = random.Random(7)
        self.second, self.start_ms = 0, int((time.time() - 300) * 1000)
        self.events, self.answer, self.draining = [], "ok", False
        self.memory = {"used": 21 << 20, "max": 96 << 20}
        self.services = self.build()
        self.event("start", f"slotcar 0.1.0 listens on {', '.join(self.services[0].listen)}")

    def build(self):
        names = [f"127.0.0.1:{port}" for port in range(7001, 7007)]
        nodes = [
            Node(name, "primary" if index < 3 else "replica", None if index < 3 else names[index - 3],
                 [[SLOTS * index // 3, SLOTS * (index + 1) // 3 - 1]] if index < 3 else [], [5, 3, 4, 5, 3, 4][index], self.chance)
            for index, name in enumerate(names)
        ]
        return [Service("cluster", ["127.0.0.1:6379"], f"cluster {names[0]}", nodes, 9000, self.chance)]

    def now_ms(self):
        return self.start_ms + self.second * 1000

    def event(self, kind, text):
        self.events = [*self.events, {"at_ms": self.now_ms(), "kind": kind, "text": text}][-200:]

    def tick(self):
        self.second += 1
        self.happen(self.second)
        for service in self.services:
            service.tick(self.second, self.now_ms())
        self.memory["used"] = (21 << 20) + self.services[0].held * 4096 + self.chance.randrange(1 << 20)

    def happen(self, second):
        service = self.services[0]
        old, new = service.nodes[0], service.nodes[3]
        if second == 2:
            self.event("topology", "16384 slots at 3 primaries, 3 replicas")
        elif second == FAILOVER:
            old.up, old.trouble = False, "connection refused"
            service.reasons = [f"slots 0-5460: {old.name} does not answer: connection refused"]
            self.event("node_down", f"{old.name}: connection refused")
            self.event("hold", f"requests for 5461 slots of {old.name} are held")
        elif second == FAILOVER + HELD:
            old.role, old.primary, new.role, new.primary = "replica", new.name, "primary", None
            old.slots, new.slots = [], old.slots
            service.reasons = []
            self.event("failover", f"{new.name} took over 5461 slots from {old.name}")
            self.event("topology", "16384 slots at 3 primaries, 2 replicas")
            self.event("hold_over", f"requests were held for 3.1s delayed={service.held} given_up=0 longest_delay_ms=3102")
        elif second == FAILOVER + 25:
            old.up, old.trouble = True, None
            self.event("node_up", f"{old.name} is a replica of {new.name}")

    def status(self):
        reasons = ["draining"] if self.draining else [reason for service in self.services for reason in service.reasons]
        return {
            "version": "0.1.0", "uptime_seconds": float(self.second), "now_ms": self.now_ms(), "ready": not reasons, "reasons": reasons,
            "draining": self.draining, "services": [service.status(self.second) for service in self.services], "memory": self.memory,
            "events": self.events,
        }


class Unserved(Scenario):
    def happen(self, second):
        service = self.services[0]
        if second == 1:
            service.nodes[1].slots = [[5461, 7999], [8200, 10921]]
            service.unserved = [[8000, 8199], [12000, 12000]]
            service.nodes[2].slots = [[10922, 11999], [12001, 16383]]
            service.nodes[2].up, service.nodes[2].trouble = False, "no answer for 4 s"
            service.reasons = ["201 slots are served by nobody", f"{service.nodes[2].name} does not answer: no answer for 4 s"]


class Many(Scenario):
    """300 nodes with scattered slots, 200 events, more clients than are shown."""

    def build(self):
        names = [f"redis-{index}.redis-headless.shop.svc.cluster.local:6379" for index in range(300)]
        pieces = [[] for _ in range(150)]
        for index in range(450):
            pieces[index * 7 % 150].append([SLOTS * index // 450, SLOTS * (index + 1) // 450 - 1])
        nodes = [
            Node(name, "primary" if index < 150 else "replica", None if index < 150 else names[index - 150],
                 pieces[index] if index < 150 else [], self.chance.uniform(1, 4), self.chance)
            for index, name in enumerate(names)
        ]
        service = Service("cluster", ["0.0.0.0:6379", "unix:/run/slotcar.sock"], f"cluster {names[0]}", nodes, 40_000, self.chance)
        service.clients = [{**service.clients[index % 24], "id": index, "address": f"10.1.2.{index}:40112"} for index in range(100)]
        service.sessions = 523
        return [service]

    def happen(self, second):
        if second == 1:
            start = self.start_ms
            for index in range(199):
                self.start_ms = start - (199 - index) * 41_000
                self.event(["topology", "node_down", "failover", "node_up", "hold", "hold_over"][index % 6], f"redis-{index}: something of the {index}th kind")
            self.start_ms = start


class Hostile(Scenario):
    """Names that would do harm if they were taken for HTML, or not shown as they are."""

    KEYS = [
        "<img src=x onerror=\"document.title='harmed'\">", "<script>document.title='harmed'</script>", "line\nbreak\r\ttab\x00\x07\x1b[31m",
        "\\xff\\xfe not UTF-8", "\u202egnirts desrever", "\ud800 alone", "&lt;b&gt; &amp;", "k" * 5000, "", "  spaces  ", "\u200bhidden", "ключ:עברית:鍵:🔑",
        "__proto__", "constructor",
    ]

    def build(self):
        [service] = super().build()
        service.hot_keys = [(key, 0.9 / (index + 1), key[:60]) for index, key in enumerate(self.KEYS)]
        service.large_values = [(key, 10**index, key[:60]) for index, key in enumerate(self.KEYS)]
        service.commands += [[key[:60], 0.01, cut(0.0002, 0.4), histogram(), 0] for key in self.KEYS]
        service.clients = [{**service.clients[0], "id": index, "name": key, "address": key, "command": key} for index, key in enumerate(self.KEYS)]
        service.slow = [
            {"id": index, "at_ms": self.start_ms, "duration_us": 20_000, "wait_us": 0, "node_us": 20_000, "node": key, "request": f"GET {key}", "client": key}
            for index, key in enumerate(self.KEYS)
        ]
        service.reasons = self.KEYS[:2]
        return [service]

    def happen(self, second):
        if second <= len(self.KEYS):
            self.event(["failover", self.KEYS[0]][second % 2], self.KEYS[second - 1])


class Sentinel(Scenario):
    def build(self):
        nodes = [Node("10.0.0.1:6379", "primary", None, [], 1, self.chance), Node("10.0.0.2:6379", "replica", "10.0.0.1:6379", [], 1, self.chance)]
        return [Service("sentinel", ["127.0.0.1:6379"], "sentinel 10.0.0.8:26379, mymaster", nodes, 800, self.chance)]

    def happen(self, second):
        for node in self.services[0].nodes:
            node.slots = [[0, SLOTS - 1]] if node.role == "primary" else []


class Two(Scenario):
    def build(self):
        plain = Node("cache.internal:6379", "primary", None, [[0, SLOTS - 1]], 1, self.chance)
        return super().build() + [Service("server", ["127.0.0.1:6380"], "redis://cache.internal:6379/0", [plain], 400, self.chance)]

    def happen(self, second):
        if second == 2:
            self.event("hold_over", "requests were held for 6.0s delayed=4 given_up=0 longest_delay_ms=5998")


class Starting(Scenario):
    """Nothing is known yet."""

    def build(self):
        service = Service("cluster", ["127.0.0.1:6379"], "cluster 127.0.0.1:7001", [], 0, self.chance)
        service.reasons, service.clients, service.sessions, service.commands = ["no topology yet"], [], 0, []
        service.hot_keys, service.large_values, service.unserved = [], [], [[0, SLOTS - 1]]
        self.memory = {"used": 1 << 20, "max": 0}
        return [service]

    def happen(self, second):
        pass


class Draining(Scenario):
    def happen(self, second):
        if second == 2:
            self.draining = True
            self.event("drain", "24 sessions are served to their first pause")


SCENARIOS = {kind.__name__.lower(): kind for kind in (Unserved, Many, Hostile, Sentinel, Two, Starting, Draining)}
SCENARIOS["cluster"] = Scenario


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    running, lock, stopped = {}, threading.Lock(), threading.Event()

    def scenario(self):
        name, _, rest = self.path.lstrip("/").partition("/")
        if name not in SCENARIOS:
            return None, rest
        with self.lock:
            return self.running.setdefault(name, None) or self.restart(name), rest

    def restart(self, name):
        self.running[name] = SCENARIOS[name]()
        return self.running[name]

    def do_GET(self):
        scenario, rest = self.scenario()
        if scenario is None:
            links = "".join(f'<li><a href="{name}/">{name}</a>' for name in sorted(SCENARIOS))
            self.reply(200 if self.path == "/" else 404, "text/html", f"<!doctype html><title>mock</title><ul>{links}</ul>")
        elif rest == "":
            self.reply(200, "text/html; charset=utf-8", PAGE.read_text(), {"Content-Security-Policy": POLICY})
        elif rest == "status":
            self.answer(scenario)
        else:
            self.reply(404, "text/plain", "not here\n")

    def answer(self, scenario):
        if scenario.answer == "hang":
            self.stopped.wait(30)
            self.close_connection = True
        elif scenario.answer == "close":
            self.close_connection = True
        elif scenario.answer == "error":
            self.reply(503, "text/plain", "no\n")
        elif scenario.answer == "garbage":
            self.reply(200, "application/json", '{"version"')
        else:
            with self.lock:
                scenario.tick()
                # Lone surrogates can stand in JSON as escapes only.
                text = json.dumps(scenario.status())
            self.reply(200, "application/json", text)

    def do_POST(self):
        scenario, rest = self.scenario()
        what, _, value = rest.partition("/")
        with self.lock:
            if what == "answer":
                scenario.answer = value
            elif what == "at":
                if scenario.second >= int(value):
                    scenario = self.restart(self.path.split("/")[1])
                while scenario.second < int(value):
                    scenario.tick()
        self.reply(200, "text/plain", "ok\n")

    def reply(self, code, kind, text, headers=()):
        body = text.encode()
        self.send_response(code)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **dict(headers)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0), Handler)
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()


main()

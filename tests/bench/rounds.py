"""The programs of one round of tests/bench/flow, and the servers that all rounds share. Whatever is started here is
stopped at the end of its block, or with the script however that ends."""

import ctypes
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from datetime import datetime

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIBC = ctypes.CDLL(None)


def output_of(command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, **options).stdout


def servers(*arguments):
    environment = {**os.environ, "OWNER_PID": str(os.getpid())}
    return output_of([ROOT / "tests/servers", *arguments], env=environment, timeout=120).strip()


def free_address():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return "127.0.0.1:%d" % listener.getsockname()[1]


def listens(address):
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def get(url):
    """The body of a 200, or nothing."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.read()
    except (urllib.error.URLError, OSError):
        return None


def cpu(pid):
    """Seconds of user and system time."""
    fields = pathlib.Path("/proc/%s/stat" % pid).read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak(pid):
    status = pathlib.Path("/proc/%s/status" % pid).read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


class Child:
    """A program of ours that is stopped at the end of its block, or with this script."""

    def __init__(self, log, environment, *command):
        with open(log, "wb") as output:
            self.began = time.monotonic()
            die_with_us = lambda: LIBC.prctl(1, signal.SIGTERM)
            both = {"stdout": output, "stderr": output, "preexec_fn": die_with_us}
            self.process = subprocess.Popen(command, env=environment, cwd=log.parent, **both)
        self.log, self.pid = log, self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def fail(self, why):
        raise SystemExit("%s\n%s" % (why, self.log.read_text()[-3000:]))

    def wait(self, what, within, pause, reached):
        """Seconds from the start until the state was seen."""
        while not reached():
            if self.process.poll() is not None or time.monotonic() > self.began + within:
                self.fail("not within %d s: %s" % (within, what))
            time.sleep(pause)
        return time.monotonic() - self.began

    def end(self, within):
        """The JSON that it printed, a line each."""
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.fail("not within %d s: the end of %s" % (within, self.process.args))
        if code != 0:
            self.fail("%s failed" % (self.process.args,))
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


class Workers:
    """Some workers of one round, from their start."""

    def __init__(self, round_, number):
        self.round, self.last = round_, {}
        self.ops = [free_address() for _ in range(number)]
        self.children = [round_.start("run", VOD_COVER__OPS__LISTEN=ops) for ops in self.ops]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in self.children:
            child.process.terminate()
        for child in self.children:
            child.__exit__()

    def ready(self):
        """Seconds from the start of the last one."""
        for child, ops in zip(self.children, self.ops):
            took = child.wait("ready", 60, 0.001, lambda ops=ops: get("http://%s/readyz" % ops) is not None)
        return took

    def settled(self):
        """How many events ended how; must not be asked after a worker has ended."""
        self.last = {}
        for ops in self.ops:
            metrics = (get("http://%s/metrics" % ops) or b"").decode()
            for how, count in re.findall(r'^vod_cover_settlements_total\{how="(\w+)"\} (\d+)', metrics, re.M):
                self.last[how] = self.last.get(how, 0) + int(count)
        return self.last.get("done", 0) + self.last.get("dead", 0)

    def drain(self):
        """Seconds from the start of the first one until every event is settled."""
        count = len(self.round.videos)
        return self.children[0].wait(
            "the queue is drained", 60 + count / 100, 0.03, lambda: self.settled() >= count
        )

    def cpu(self):
        return sum(cpu(child.pid) for child in self.children)

    def peak(self):
        return max(peak(child.pid) for child in self.children)

    def check(self):
        if self.last.get("dead"):
            raise SystemExit("there are dead letters: %s" % self.last)


class Bench:
    """The programs, the servers that all rounds share, and what was chosen on the command line."""

    def __init__(self, root, options):
        self.root, self.options, self.rounds = root, options, 0
        self.program, self.loops = build()
        rabbitmq, redis = root / "rabbitmq", root / "redis"
        self.urls = {"AMQP_URL": servers("start-rabbitmq", rabbitmq), "REDIS_URL": servers("start-redis", redis)}
        self.pids = {
            "RabbitMQ": (rabbitmq / "rabbitmq.pid").read_text().strip(),
            "Redis": (redis / "redis.pid").read_text().strip(),
        }

    def round(self, kind="quorum", latency=0, count=0, qps="off", **settings):
        self.rounds += 1
        return Round(self, "round-%d" % self.rounds, kind, latency, count, qps, settings)


class Round:
    """A queue, a ledger and an account of its own, and as many events as the count says."""

    def __init__(self, bench, name, kind, latency, count, qps, settings):
        self.bench, self.directory, self.latency, self.count = bench, bench.root / name, latency, count
        self.directory.mkdir()
        self.queue, self.api, self.embedded = name, "http://" + free_address(), kind == "embedded"
        self.qps, self.lines, self.videos = qps, self.directory / "events.ndjson", set()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "VOD_ENDPOINT": self.api,
            "ALIBABA_CLOUD_ACCESS_KEY_ID": "testid",
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "testsecret",
            "VOD_COVER__COVER__RULES": "first",
            "VOD_COVER__COVER__GATE": "false",
            "VOD_COVER__VOD__PACE": "true" if qps == "on" else "false",
            "VOD_COVER__EMBEDDED__PATH": str(self.directory / "vod-cover.sqlite3"),
            "VOD_COVER__QUEUE__EMBEDDED__IN_FLIGHT": "64",
            "VOD_COVER__QUEUE__RABBITMQ__TYPE": "quorum" if self.embedded else kind,
            "VOD_COVER__QUEUE__RABBITMQ__QUEUE": name,
            "VOD_COVER__QUEUE__RABBITMQ__EXCHANGE": name + ".events",
            "VOD_COVER__LEDGER__REDIS__PREFIX": name,
            "VOD_COVER__INTAKE__LISTEN": free_address(),
            **({} if self.embedded else bench.urls),
            **settings,
            **dict(pair.split("=", 1) for pair in bench.options.env),
        }

    def __enter__(self):
        self.start("declare").end(60)
        # One video in eight has a single snapshot, which is the cover already.
        videos = str(self.count * 6 // 5 + 50)
        options = ["--listen", self.api[7:], "--qps", self.qps, "--latency-ms", str(self.latency)]
        self.sim = self.start("sim", *options, "--videos", videos)
        self.sim.wait("the simulator answers", 60, 0.02, lambda: get(self.api + "/_sim/health"))
        self.pids = {"simulator": self.sim.pid, **({} if self.embedded else self.bench.pids)}
        with urllib.request.urlopen(self.api + "/_sim/events", timeout=60) as events, open(self.lines, "wb") as lines:
            for line in events:
                event = json.loads(line)
                if event["SnapshotInfos"][0]["SnapshotCount"] > 1 and len(self.videos) < self.count:
                    self.videos.add(event["VideoId"])
                    lines.write(line)
        return self

    def __exit__(self, *_):
        self.sim.__exit__()
        # A million events fill a gigabyte.
        shutil.rmtree(self.directory)

    def start(self, *arguments, **more):
        """The program, with the settings of this round."""
        return Child(self.log(arguments[0]), {**self.environment, **more}, self.bench.program, *arguments)

    def loop(self, *arguments):
        """One of tests/bench/loops, with the servers of this round."""
        return Child(self.log(arguments[0]), self.environment, self.bench.loops, *map(str, arguments))

    def intake(self, way):
        """Who takes callbacks, when it does so."""
        listen, ops = free_address(), free_address()
        if way == "bare":
            child = self.loop("bare", listen, self.queue + ".events")
            child.wait("it listens", 20, 0.02, lambda: listens(listen))
        else:
            more = {"VOD_COVER__INTAKE__LISTEN": listen, "VOD_COVER__OPS__LISTEN": ops}
            more["VOD_COVER__INTAKE__SPOOL__PATH"] = str(self.directory / "spool.sqlite3")
            if way == "spool":
                more["AMQP_URL"] = "amqp://127.0.0.1:9/%2f"
            child = self.start("gateway", **more)
            queue = lambda: json.loads(get("http://%s/readyz" % ops) or "{}").get("dependencies", {}).get("queue")
            child.wait("it is ready", 20, 0.02, lambda: queue() and (queue() == "ok") == (way == "confirm"))
        child.url = "http://%s/callback" % listen
        return child

    def log(self, name):
        return self.directory / ("%s-%d.log" % (name, time.monotonic_ns()))

    def fill(self):
        if self.embedded:
            fill = self.start("publish", self.lines)
        else:
            fill = self.loop("publish", self.queue + ".events", self.lines)
        fill.end(60 + self.count / 100)

    def workers(self, number):
        return Workers(self, number)

    def others(self):
        return {name: cpu(pid) for name, pid in self.pids.items()}

    def figures(self, seconds, used, memory, before):
        """Of a queue that was drained: the columns that all tables have in common."""
        count = len(self.videos)
        each = lambda used: used * 10_000 / count
        others = {name: each(now - before[name]) for name, now in self.others().items()}
        return {"events/s": count / seconds, "CPU": each(used), "peak MiB": memory, **others}

    def drain(self, number):
        """The full queue, by so many workers."""
        before = self.others()
        with self.workers(number) as workers:
            figures = self.figures(workers.drain(), workers.cpu(), workers.peak(), before)
            workers.check()
        self.check()
        return figures

    def drain_simply(self):
        """The full queue, by the reference loop."""
        before = self.others()
        with self.loop("simple", self.queue, len(self.videos)) as simple:
            [done] = simple.end(60 + self.count / 100)
        figures = self.figures(time.monotonic() - simple.began, done["cpu"], done["peak_mib"], before)
        self.check()
        return figures

    def check(self):
        covers = json.loads(get(self.api + "/_sim/covers"))
        unset = sum(not covers[video].endswith("-00001.jpg") for video in self.videos)
        if unset:
            raise SystemExit("%d of %d covers are not set" % (unset, len(self.videos)))

    def calls(self):
        """What the simulator was asked, with the seconds of Unix time at which it had come in."""
        calls = json.loads(get(self.api + "/_sim/journal"))["calls"]
        for call in calls:
            call["arrived"] = datetime.fromisoformat(call["arrived"]).timestamp()
        return calls


def build():
    """The program, and the loops that it is compared with."""
    command = ["cargo", "build", "--profile", "dist", "--locked", "--bin", "vod-cover", "--bench", "loops"]
    messages = output_of([*command, "--message-format", "json"], cwd=ROOT, timeout=3600)
    found = {}
    for message in map(json.loads, messages.splitlines()):
        if message.get("executable"):
            found[message["target"]["name"]] = pathlib.Path(message["executable"])
    return found["vod-cover"], found["loops"]

"""Has the hook's Python and its part in C count the same random requests, and compares what each has counted and done.

parity.py HOOK FIRST SEEDS: HOOK is an installed hook. The applications, the servers' sends and the clients misbehave in every way that is
known here. Nothing depends on time but the durations, of which the number is compared.
"""

import gc
import importlib.util
import os
import random
import sys
import tempfile
import warnings


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Own(Exception):
    pass


class End(BaseException):
    pass


class Yields:
    """An awaitable that is no coroutine."""

    def __init__(self, times, then=lambda: None):
        self.times, self.then = times, then

    def __await__(self):
        self.then()
        for n in range(self.times):
            got = yield n
            if got is not None:
                log.append(("awaitable got", got))
        return "awaited"


class Message(dict):
    """Its items are found by methods."""


log = []  # what happens in a run

TYPES = ["http.response.start", "http.response.body", "http.response.pathsend", "http.response.trailers", "websocket.accept"]
TYPES += ["websocket.close", "websocket.http.response.start", "websocket.http.response.body", "websocket.send", "", 7, None]


def message(chance):
    """Returns a random message, most often one that makes sense."""
    if chance.random() < 0.05:
        return chance.choice([None, 7, "text", {}, [], {"status": 200}])
    kind = chance.choice(TYPES if chance.random() < 0.4 else TYPES[:2])
    made = {"type": kind}
    if chance.random() < 0.95:
        made["status"] = chance.choice([200, 200, 204, 302, 404, 500, 503, 101, 600, 0, 99, True, "201", "x", None, 2**70, 200.5])
    if chance.random() < 0.5:
        made["body"] = chance.choice([b"", b"x", None])
    if chance.random() < 0.5:
        made["more_body"] = chance.choice([False, True, 0, 1, None])
    if chance.random() < 0.5:
        made["headers"] = chance.choice([[], [(b"a", b"b")], 7])
    return Message(made) if chance.random() < 0.1 else made


def application(chance):
    """Returns a random ASGI application."""
    sends = [(message(chance), chance.choice(["await"] * 8 + ["drop", "late", "keyword"])) for _ in range(chance.randrange(5))]
    if chance.random() < 0.5:
        sends = [({"type": TYPES[0], "status": 200}, "await"), ({"type": TYPES[1], "body": b"x"}, "await")] + sends[:1]
    ends = chance.choice(["return"] * 5 + ["value", "raise", "end", "exit", "tuple"])
    catches, kind, cycle = chance.random() < 0.3, chance.choice(["async"] * 6 + ["awaitable", "generator", "raises", "nothing"]), chance.random() < 0.1

    async def app(scope, receive, send, *rest):
        log.append(("rest", rest))
        if cycle:
            scope["itself"] = send
        late = []
        for one, how in sends:
            if scope["plain"] and how in ("drop", "late"):  # in Python, the send of a server is called when the last message is awaited
                how = "await"
            try:
                sending = send(message=one) if how == "keyword" else send(one)
                if how == "late":
                    late.append(sending)
                elif how != "drop":
                    log.append(("sent", await sending))
            except Own as error:
                log.append(("app saw", str(error)))
                if not catches:
                    raise
        for sending in late:
            log.append(("sent late", await sending))
        log.append(("awaited", await Yields(chance_in_app.randrange(3))))
        if ends == "raise":
            raise Own("app")
        if ends == "end":
            raise End("app")
        if ends == "exit":
            raise StopIteration("app")
        return {"value": 7, "tuple": (1, 2)}.get(ends)

    chance_in_app = random.Random(chance.random())
    if kind == "awaitable":
        return lambda *args: Yields(2)
    if kind == "generator":
        return lambda *args: iter([])
    if kind == "raises":

        def raises(*args):
            raise Own("at once")

        return raises
    if kind == "nothing":
        return lambda *args: None
    return app


class Server:
    """What ASGI servers have: a cycle with a send, and a transport."""

    def __init__(self, chance):
        self.disconnected, self.transport, self.chance = False, self, chance
        self.closing = False
        if chance.random() < 0.1:
            del self.transport  # a server that the names are not of

    def is_closing(self):
        return self.closing

    def gone(self, send):
        try:
            return self.disconnected or self.transport.is_closing()
        except AttributeError:
            return self.closing

    def happens(self):
        what = self.chance.random()
        if what < 0.1:
            self.disconnected = True
        elif what < 0.2:
            self.closing = True

    async def send(self, message):
        log.append(("server got", repr(message)))
        self.happens()
        if self.chance.random() < 0.3:
            log.append(("server awaited", await Yields(self.chance.randrange(3))))
        if self.chance.random() < 0.1:
            raise Own("send")
        return "taken"

    def send_plain(self, message):
        log.append(("server got", repr(message)))
        what = self.chance.random()
        if what < 0.1:
            raise Own("send at once")
        return None if what < 0.15 else Yields(1, self.happens)


def drive(awaitable, chance):
    """Runs a request to some end."""
    running = awaitable
    begun = False
    for _ in range(40):
        what = chance.random()
        if what < 0.90 or not begun:  # a request that was never awaited is none
            got = running.send(None)
            begun = True
        elif what < 0.94:
            got = running.send("sent")
        elif what < 0.97:
            got = running.throw(chance.choice([Own("thrown"), End("thrown"), GeneratorExit()]))
        else:
            log.append(("closed", running.close()))
            return
        log.append(("yielded", got))


def request(counting, flag, seed):
    """Runs one request, and returns all that has happened."""
    chance = random.Random(seed)
    del log[:]
    server = Server(random.Random(chance.random()))
    send = server.send_plain if chance.random() < 0.2 else server.send
    raised = flag + ".raised"
    if chance.random() < 0.2:
        open(raised, "w").close()
    elif os.path.exists(raised):
        os.remove(raised)
    drains = flags[counting](raised)

    def closing(scope, message):
        return dict(message, headers=list(message["headers"]) + ["close"])

    told = (None, "disconnected", "transport") if chance.random() < 0.8 else (server, "disconnected", "transport")
    app = counting.asgi(application(chance), server.gone, drains, closing, chance.random() < 0.7, told)
    scope = {"type": chance.choice(["http"] * 6 + ["websocket", "websocket", "lifespan"]), "path": chance.choice(["/", "/probe"])}
    scope["headers"] = [(b"User-Agent", chance.choice([b"curl", b"superctl/health"]))]
    scope["plain"] = send == server.send_plain
    rest = ["spawn"] if chance.random() < 0.2 else []

    async def serve():
        return await app(scope, None, send, *rest)

    try:
        drive(serve(), chance)
    except BaseException as error:
        log.append((type(error).__name__, str(error) if isinstance(error, Own) else "", error.args if type(error) is StopIteration else ""))
    return list(log)


def totals(directory):
    """Returns the sum of the rows, the answers with a duration, and the head of the pages but for its number of rows."""
    sum_, heads = [0] * 17, set()
    for name in os.listdir(directory):
        if not name.startswith("."):
            with open(os.path.join(directory, name), "rb") as file:
                cells = memoryview(file.read()).cast("Q")
            heads.add((cells[0], cells[1], cells[2], any(cells[4:512])))
            assert len(cells) == 512 * (1 + cells[3])
            for n in range(16):
                sum_[n] += sum(cells[512 + n :: 512])
            sum_[16] += sum(cells) - sum(cells[:512])
    return sum_[:16], sum_[16] - sum(sum_[:16]), heads


hook, first, seeds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
site = load("hook", os.path.join(hook, "sitecustomize.py"))
native = site._native()
if native is None:
    sys.exit("the part in C cannot be loaded")
requests = load("superctl_requests", os.path.join(hook, "superctl_requests.py"))
warnings.simplefilter("ignore")  # of coroutines that were never awaited
sys.unraisablehook = lambda _: None
directory = tempfile.mkdtemp()
flag = os.path.join(directory, "flag")
open(flag, "w").close()
complaints, countings, flags = [], [], {}
for name, part in ("python", None), ("c", native):
    os.mkdir(os.path.join(directory, name))
    counting = requests.Counting(os.path.join(directory, name), ["/probe"], complaints.append, part)
    countings.append((os.path.join(directory, name), counting))
    flags[counting] = (lambda path: native.flag(os.fsencode(path)).drains) if part else lambda path: site._flag(flag)
wrong = 0
for seed in range(first, first + seeds):
    happened, counted = [], []
    for place, counting in countings:
        happened.append(request(counting, flag, seed))
        counted.append(totals(place))
    if counted[0] != counted[1]:
        gc.collect()  # a request in a cycle ends when it is found
        counted = [totals(place) for place, _ in countings]
    if happened[0] != happened[1] or counted[0] != counted[1]:
        wrong += 1
        print("seed %d differs:" % seed, *(x for pair in zip(happened, counted) for x in pair), sep="\n  ")
        if wrong == 3:
            break
print(seeds, "requests", counted[1][0][:8], complaints)
sys.exit(wrong > 0)

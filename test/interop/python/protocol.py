"""spill's public protocol as a Python client meets it: nats-py, JSON or MessagePack, nothing of spill's own.

Usage: protocol.py <nats url> <json|messagepack>. Each check prints its name; the first that fails ends the run.
"""

import asyncio
import json
import sys
import time
import uuid

import msgpack
import nats
from nats.errors import NoRespondersError

INT64_MAX = 2**63 - 1
SAFE_MAX = 2**53 - 1


class Client:
    def __init__(self, nc, encoding):
        self.nc = nc
        self.encoding = encoding

    def encode(self, value):
        return json.dumps(value).encode() if self.encoding == "json" else msgpack.packb(value)

    def decode(self, data):
        return json.loads(data) if self.encoding == "json" else msgpack.unpackb(data)

    async def raw(self, subject, body, headers=None):
        reply = await self.nc.request(subject, body, timeout=20, headers=headers)
        return self.decode(reply.data), reply.headers or {}

    async def ask(self, subject, value):
        reply, headers = await self.raw(subject, self.encode(value))
        assert "Nats-Service-Error-Code" not in headers, f"{subject}: {reply}"
        return reply

    async def submit(self, value):
        return await self.ask("spill.transactions.submit", value)

    async def error(self, subject, body, headers=None):
        reply, found = await self.raw(subject, body, headers)
        assert set(reply) == {"error"}, reply
        return reply["error"], found

    def amount(self, value):
        """An amount as it must come back: a decimal string in JSON, an int in MessagePack."""
        return str(value) if self.encoding == "json" else value


def same(actual, expected):
    """Equal, and of the same type: 5.0 is not 5, and "5" is not 5."""
    assert type(actual) is type(expected) and actual == expected, f"{actual!r} is not {expected!r}"


def unique(name):
    return f"{name}-{uuid.uuid4().hex[:12]}"


async def extreme_amounts(c):
    for amount in (INT64_MAX, -INT64_MAX, SAFE_MAX, -SAFE_MAX, SAFE_MAX + 2, -SAFE_MAX - 2, 1, -1, 79999, 80000):
        account = unique("extreme")
        sent = str(amount) if c.encoding == "json" else amount
        result = await c.submit({"id": "x", "account": account, "amount": sent})
        same(result["status"], "stored")
        got = await c.ask("spill.transactions.get", {"account": account, "id": "x"})
        same(got["amount"], c.amount(amount))
        balance = await c.ask("spill.balance.get", {"account": account})
        same(balance["balance"], c.amount(amount))


async def small_numbers_in_json_or_as_float(c):
    """JSON takes numbers within ±(2^53−1); MessagePack takes integral float64, which JavaScript encoders send."""
    account = unique("number")
    sent = SAFE_MAX if c.encoding == "json" else float(SAFE_MAX)
    result = await c.submit({"id": "x", "account": account, "amount": sent})
    same(result["status"], "stored")
    got = await c.ask("spill.transactions.get", {"account": account, "id": "x"})
    same(got["amount"], c.amount(SAFE_MAX))


async def strings_in_both(c):
    account = unique("string")
    same((await c.submit({"id": "x", "account": account, "amount": "-77"}))["status"], "stored")
    got = await c.ask("spill.transactions.get", {"account": account, "id": "x"})
    same(got["amount"], c.amount(-77))


async def sums_beyond_int64(c):
    account = unique("beyond")
    sent = str(INT64_MAX) if c.encoding == "json" else INT64_MAX
    for id in ("one", "two"):
        same((await c.submit({"id": id, "account": account, "amount": sent}))["status"], "stored")
    balance = await c.ask("spill.balance.get", {"account": account})
    same(balance["balance"], str(2 * INT64_MAX))


async def out_of_range(c):
    account = unique("range")
    wrong = [0, -(2**63), 2**63, 1.5, True, None, "12abc", " 12 ", "0x10", "+1", "01", "", float("nan")]
    for amount in wrong:
        if c.encoding == "json" and isinstance(amount, int) and abs(amount) > SAFE_MAX:
            amount = str(amount)
        if c.encoding == "json" and amount != amount:
            continue
        error, headers = await c.error("spill.transactions.submit", c.encode({"id": "x", "account": account, "amount": amount}))
        same(error["code"], "invalid_transaction")
        same(headers["Nats-Service-Error-Code"], "422")
        assert "amount" in error["message"], error
    if c.encoding == "json":
        body = '{"id": "x", "account": "%s", "amount": 9007199254740993}' % account
        error, _ = await c.error("spill.transactions.submit", body.encode())
        same(error["code"], "invalid_transaction")
    error, _ = await c.error("spill.balance.get", c.encode({"account": account}))
    same(error["code"], "not_found")


async def timestamps(c):
    account = unique("time")
    now = time.time_ns() // 1000
    result = await c.submit({"id": "given", "account": account, "amount": 1, "timestamp": now})
    same(result["timestamp"], now)
    same((await c.submit({"id": "given", "account": account, "amount": 1, "timestamp": now}))["status"], "duplicate")
    # To the microsecond, from a string as well.
    odd = now - now % 10 - 3
    same((await c.submit({"id": "odd", "account": account, "amount": 1, "timestamp": str(odd)}))["timestamp"], odd)
    stamped = await c.submit({"id": "none", "account": account, "amount": 1})
    assert type(stamped["timestamp"]) is int and abs(stamped["timestamp"] - now) < 60_000_000, stamped
    page = await c.ask("spill.transactions.retrieve", {"account": account})
    same([t["timestamp"] for t in page["transactions"]], sorted([odd, now, stamped["timestamp"]]))
    old = await c.submit({"id": "old", "account": account, "amount": 1, "timestamp": now - 3600 * 1_000_000})
    same((old["status"], old["error"]["code"], old["error"]["retryable"]), ("rejected", "expired", False))
    later = {"id": "ahead", "account": account, "amount": 1, "timestamp": now + 3600 * 1_000_000}
    ahead, _ = await c.error("spill.transactions.submit", c.encode(later))
    same(ahead["code"], "invalid_transaction")
    same((await c.submit([later]))["results"][0]["error"]["code"], "invalid_transaction")


async def results(c):
    account = unique("results")
    tx = {"id": "a", "account": account, "amount": -1250}
    first = await c.submit(tx)
    same(sorted(first), ["id", "sequence", "shard", "status", "timestamp"])
    same({**first, "status": "duplicate"}, await c.submit(tx))
    conflict = await c.submit({**tx, "amount": -1251})
    same((conflict["id"], conflict["status"], conflict["error"]["code"]), ("a", "rejected", "id_conflict"))
    batch = await c.submit([tx, {"id": "b", "account": account, "amount": 5}, {"id": "c", "account": account, "amount": 0}])
    same([r["status"] for r in batch["results"]], ["duplicate", "stored", "rejected"])
    assert batch["results"][2]["error"]["message"].startswith("transactions[2].amount is 0"), batch
    twice = await c.submit([{"id": "d", "account": account, "amount": 7}] * 2)
    same([r["status"] for r in twice["results"]], ["stored", "duplicate"])
    # The other leg of a transfer may have the same id.
    same((await c.submit({"id": "a", "account": unique("results"), "amount": 1250}))["status"], "stored")


async def pages(c):
    account = unique("pages")
    await c.submit([{"id": f"p{n}", "account": account, "amount": n + 1} for n in range(7)])
    seen, after = [], None
    while True:
        page = await c.ask(
            "spill.transactions.retrieve", {"account": account, "limit": 3, **({"after": after} if after else {})}
        )
        seen += [t["id"] for t in page["transactions"]]
        after = page.get("next")
        if after is None:
            break
    same(seen, [f"p{n}" for n in range(7)])
    for transaction in page["transactions"]:
        same(sorted(transaction), ["amount", "id", "sequence", "shard", "state", "timestamp"])


async def balances(c):
    account, nobody = unique("balance"), unique("nobody")
    await c.submit([{"id": "a", "account": account, "amount": 500}, {"id": "b", "account": account, "amount": -120}])
    balance = await c.ask("spill.balance.get", {"account": account})
    same(balance["balance"], c.amount(380))
    parts = [int(balance[name] or 0) for name in ("row", "set_aside", "pending")]
    same(sum(parts), 380)
    both = (await c.ask("spill.balance.get", {"accounts": [account, nobody]}))["balances"]
    same(both[0]["balance"], c.amount(380))
    same((both[1]["account"], both[1]["error"]["code"]), (nobody, "not_found"))


async def errors_and_their_headers(c):
    submit = "spill.transactions.submit"
    text = c.encode({"id": 5, "account": "a", "amount": 1})
    broken = b'{"id": ' if c.encoding == "json" else b"\xc1"
    many = c.encode([{"id": str(n), "account": "many", "amount": 1} for n in range(8193)])
    for subject, body, code, status in [
        (submit, broken, "malformed", "400"),
        (submit, c.encode([]), "malformed", "400"),
        (submit, text, "invalid_transaction", "422"),
        (submit, c.encode({"id": "x", "account": "a", "amount": 1, "note": ""}), "invalid_transaction", "422"),
        (submit, many, "batch_too_large", "413"),
        ("spill.transactions.get", c.encode({"account": unique("n"), "id": "x"}), "not_found", "404"),
        ("spill.transactions.get", c.encode({"account": "a"}), "malformed", "400"),
        ("spill.transactions.get", c.encode({"account": "a", "id": "x", "more": 1}), "malformed", "400"),
        ("spill.shards.locate", c.encode({"shard": 4_000_000}), "not_found", "404"),
        ("spill.supervisor.delete_shard", c.encode({"shard": 2}), "conflict", "409"),
    ]:
        error, headers = await c.error(subject, body)
        same((error["code"], headers["Nats-Service-Error-Code"]), (code, status))
        assert headers["Nats-Service-Error"].startswith(f"{code}: "), headers
        same(error["retryable"], False)
        assert isinstance(error["message"], str) and error["message"], error
    body = c.encode({"id": unique("d"), "account": "deadline", "amount": 1})
    error, _ = await c.error(submit, body, {"Spill-Deadline-Ms": "soon"})
    same(error["code"], "malformed")
    reply, headers = await c.raw(submit, body, {"Spill-Deadline-Ms": "3000"})
    same(reply["status"], "stored")


async def text_of_all_kinds(c):
    for account in ("účet-ě", "口座", "😀", "a b.c>*", "x" * 128):
        id = unique("t")
        same((await c.submit({"id": id, "account": account, "amount": 1}))["id"], id)
        got = await c.ask("spill.transactions.get", {"account": account, "id": id})
        same((got["account"], got["id"]), (account, id))
    for id in ("", "x" * 65, "a\u0000", "a\nb", "\ufffd"):
        error, _ = await c.error("spill.transactions.submit", c.encode({"id": id, "account": "a", "amount": 1}))
        same(error["code"], "invalid_transaction")
    if c.encoding == "json":
        error, _ = await c.error("spill.transactions.submit", b'{"id": "\\ud800", "account": "a", "amount": 1}')
        same(error["code"], "invalid_transaction")
        error, _ = await c.error("spill.transactions.submit", b'{"id": "\xff", "account": "a", "amount": 1}')
        same(error["code"], "malformed")


async def operators(c):
    topology = await c.ask("spill.supervisor.topology", {})
    same((topology["hash"], topology["slot_count"], topology["large_threshold"]), ("xxh64", 1024, c.amount(80000)))
    same(sorted(topology["owners"]), ["credit", "debit", "large"])
    route = await c.ask("spill.route.explain", {"account": "customer-1", "amount": 1})
    same((route["pool"], route["slot"], route["epoch"]), ("credit", 920, topology["epoch"]))
    same((await c.ask("spill.route.explain", {"account": "customer-1", "amount": -80000}))["pool"], "large")
    where = await c.ask("spill.shards.locate", {"shard": route["shard"]})
    same(sorted(where), ["assignment", "epoch", "node", "pid", "replicas", "shard", "stream", "subject"])
    account = unique("fold")
    await c.submit({"id": "x", "account": account, "amount": 1})
    await c.ask("spill.supervisor.fold", {})
    got = await c.ask("spill.transactions.get", {"account": account, "id": "x"})
    same(got["state"], "folded")
    performance = await c.ask("spill.supervisor.performance", {})
    same(len(performance["shards"]), len(topology["shards"]))


async def services(c):
    info = await c.nc.request("$SRV.INFO.spill-router", b"", timeout=5)
    subjects = {endpoint["subject"] for endpoint in json.loads(info.data)["endpoints"]}
    assert "spill.transactions.submit" in subjects and "spill.balance.get" in subjects, subjects
    try:
        await c.nc.request("spill.nothing", b"{}", timeout=5)
    except NoRespondersError:
        return
    raise AssertionError("somebody answers spill.nothing")


CHECKS = [
    extreme_amounts,
    small_numbers_in_json_or_as_float,
    strings_in_both,
    sums_beyond_int64,
    out_of_range,
    timestamps,
    results,
    pages,
    balances,
    errors_and_their_headers,
    text_of_all_kinds,
    operators,
    services,
]


async def main(url, encoding):
    nc = await nats.connect(url)
    try:
        for check in CHECKS:
            print(check.__name__, flush=True)
            await check(Client(nc, encoding))
        print(f"{len(CHECKS)} checks passed")
    finally:
        await nc.close()


asyncio.run(main(*sys.argv[1:]))

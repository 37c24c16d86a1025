"""A client of spill in Python, in JSON over nats-py: `pip install nats-py`, then, with a node running,
`python examples/python/client.py [nats://127.0.0.1:4222]`.
"""

import asyncio
import json
import sys
import time
import uuid

import nats
from nats.errors import NoRespondersError, TimeoutError

DEADLINE_S = 5


class SpillError(Exception):
    def __init__(self, error):
        super().__init__(f"{error['code']}: {error['message']}")
        self.code = error["code"]
        self.retryable = error["retryable"]


async def ask(nc, subject, body):
    headers = {"Spill-Deadline-Ms": str(DEADLINE_S * 1000)}
    reply = await nc.request(subject, json.dumps(body).encode(), timeout=DEADLINE_S + 0.5, headers=headers)
    value = json.loads(reply.data)
    if reply.headers and "Nats-Service-Error-Code" in reply.headers:
        raise SpillError(value["error"])
    return value


async def submit(nc, account, amount, id=None, tries=5):
    """Stores a transaction durably, exactly once: id and timestamp are fixed before the first try."""
    transaction = {
        "id": id or str(uuid.uuid4()),
        "account": account,
        "amount": str(amount),  # minor units; as a string, since JSON's numbers end at 2^53
        "timestamp": time.time_ns() // 1000,
    }
    for attempt in range(tries):
        try:
            result = await ask(nc, "spill.transactions.submit", transaction)
        except (TimeoutError, NoRespondersError):
            error = None  # not known what became of it: the same again
        except SpillError as refused:
            if not refused.retryable:
                raise
            error = {}
        else:
            if result["status"] != "rejected":
                return result
            error = result["error"]
            if not error["retryable"]:
                raise SpillError(error)
        await asyncio.sleep((error or {}).get("retry_after_ms", 100 * 2**attempt) / 1000)
    raise Exception(f"no answer after {tries} tries: {transaction}")


async def main(url):
    nc = await nats.connect(url)
    try:
        first = await submit(nc, "dora", -1250, id=f"order-{time.time_ns()}")
        print(first["status"], "by shard", first["shard"])
        batch = [{"id": str(uuid.uuid4()), "account": "dora", "amount": str(n)} for n in (100, 200, -50)]
        print([result["status"] for result in (await ask(nc, "spill.transactions.submit", batch))["results"]])
        print(await ask(nc, "spill.balance.get", {"account": "dora"}))
        page = await ask(nc, "spill.transactions.retrieve", {"account": "dora", "limit": 3})
        for transaction in page["transactions"]:
            print(transaction["id"], transaction["amount"], transaction["state"])
        try:
            await submit(nc, "dora", 0)
        except SpillError as error:
            print("refused:", error)
    finally:
        await nc.close()


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"))

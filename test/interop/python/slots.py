"""Prints `<XXH64 in hex> <slot>` for each account given as an argument: the hash as the Python package xxhash has it."""

import sys

import xxhash

for account in sys.argv[1:]:
    value = xxhash.xxh64_intdigest(account.encode("utf-8"), seed=0)
    print(f"{value:016x} {value % 1024}")

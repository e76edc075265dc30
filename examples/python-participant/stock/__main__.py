"""The command line of the stock."""

import argparse
import asyncio
import logging
import os
import signal
import sqlite3
import sys

from .session import Participant
from .store import Store, sold


def main() -> None:
    parser = argparse.ArgumentParser(prog="participant", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="take part in transactions until SIGTERM")
    serve.add_argument("--file", required=True, help="the SQLite file; made if it does not exist")
    serve.add_argument("--name", default="stock", help="the name of the resource")
    serve.add_argument("--coordinator", default=os.environ.get("HANDFAST_COORDINATOR", "127.0.0.1:7420"))
    serve.add_argument("--item", action="append", default=[], metavar="NAME=COUNT", help="goods of a file that is made now")
    list_sold = commands.add_parser("sold", help="print what was sold, one line each, while nobody serves")
    list_sold.add_argument("--file", required=True)
    arguments = parser.parse_args()

    if arguments.command == "sold":
        for line in sold(arguments.file):
            print(line)
        return
    goods = {}
    for text in arguments.item:
        item, _, count = text.partition("=")
        if not count.isdecimal():
            parser.error(f"write --item NAME=COUNT, such as tea=100, not {text}")
        goods[item] = int(count)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        store = Store(arguments.file, goods)
    except sqlite3.OperationalError as error:
        sys.exit(f"{arguments.file} cannot be opened: {error}. Is there another process that serves it?")
    asyncio.run(run(Participant(store, arguments.name, arguments.coordinator)))


async def run(participant: Participant) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await participant.run(stopped)


main()

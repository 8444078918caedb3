"""`python -m serving`: serves one model until SIGTERM."""

import logging
import sys

from serving.errors import ConfigurationError
from serving.server import build_server
from serving.settings import load_settings


def main() -> int:
    """Runs the server; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        server = build_server(load_settings())
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    server.run()
    return server.exit_status


if __name__ == "__main__":
    sys.exit(main())

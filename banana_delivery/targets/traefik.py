"""Traefik's dynamic configuration, as pure values: which backends there are, who reaches them and how they are counted.

For every colour and stratum there is a service of its own, because Traefik counts by service. It tries again inside
that service, so that another colour never answers for a broken one, and only while no connection was made (Traefik
gives up trying once request bytes were sent). Each try is counted by the service, so what finally reached a client is
counted by a second one: when the last try ended in 502 the ``errors`` middleware asks that service for a page. Nothing
listens at its address, so the client gets the same 502, and the service's count is the number of requests lost.

Weights are kept apart from backends: a deployment never overwrites an edit of the weights, nor the reverse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from banana_delivery.policy.records import COLOURS, Colour, Environment, Stratum

Config = dict[str, object]

TIMEOUT_SECONDS = 5
"""A replica that has not begun to answer after so long has hung: the client gets 504."""
IDLE_SECONDS = 30
"""Less than a replica's keep-alive, so that a connection is never reused in the moment in which it is closed."""
TRIES = 15
FIRST_PAUSE_MILLISECONDS = 10
"""Between tries; fifteen take about 0.2 s. Two replicas are tried in turn by all requests together, so a single one may
meet the same dead replica several times in a row."""
UPLOAD_BYTES = 64 * 1024 * 1024
"""More than any replica accepts: the replica's own sentence is the better answer."""
NOBODY = "http://127.0.0.1:1"
LOST = "lost"
TRAFFIC_HEADER = "X-Banana-Traffic"


def service_name(colour: Colour, stratum: Stratum) -> str:
    """The Traefik service that counts one colour's requests of one stratum."""
    return f"{colour}-{stratum}"


def split_name(environment: Environment) -> str:
    """The Traefik service that splits an environment's users by weight."""
    return f"{environment}-users"


def common_config() -> Config:
    """What all environments share, and the way to Traefik's own API."""
    return {
        "http": {
            "routers": {"api": {"entryPoints": ["api"], "rule": "PathPrefix(`/api`)", "service": "api@internal"}},
            "middlewares": {
                # The whole request is read before a replica sees it: a slow upload keeps no replica waiting, and a
                # client that leaves half-way is not mistaken for a replica that broke the connection.
                "whole-request": {"buffering": {"maxRequestBodyBytes": UPLOAD_BYTES}},
                "try-again": {"retry": {"attempts": TRIES, "initialInterval": f"{FIRST_PAUSE_MILLISECONDS}ms"}},
                **{
                    f"mark-{stratum}": {"headers": {"customRequestHeaders": {TRAFFIC_HEADER: stratum.value}}}
                    for stratum in Stratum
                },
            },
            "serversTransports": {
                "replica": {
                    "forwardingTimeouts": {
                        "dialTimeout": "1s",
                        "responseHeaderTimeout": f"{TIMEOUT_SECONDS}s",
                        "idleConnTimeout": f"{IDLE_SECONDS}s",
                    }
                }
            },
        }
    }


def backends_config(environment: Environment, ports: Mapping[Colour, Sequence[int]]) -> Config:
    """The services of an environment's colours and the probe's routes to them.

    Args:
        environment: which one.
        ports: on 127.0.0.1, of the replicas that take requests, by colour.
    """
    routers: Config = {}
    middlewares: Config = {}
    services: Config = {}
    for colour in COLOURS[environment]:
        routers[f"{colour}-probe"] = {
            "entryPoints": ["probe"],
            "rule": f"Path(`/{colour}`) || PathPrefix(`/{colour}/`)",
            "middlewares": ["mark-probe", f"{colour}-strip", "whole-request"],
            "service": service_name(colour, Stratum.PROBE),
        }
        middlewares[f"{colour}-strip"] = {"stripPrefix": {"prefixes": [f"/{colour}"]}}
        for stratum in Stratum:
            name = service_name(colour, stratum)
            middlewares[f"{name}-{LOST}"] = {"errors": {"status": ["502"], "service": f"{name}-{LOST}", "query": "/"}}
            services[f"{name}-{LOST}"] = _balancer([NOBODY])
            services[name] = {
                "middlewares": [f"{name}-{LOST}", "try-again"],
                **_balancer([f"http://127.0.0.1:{port}" for port in ports.get(colour, ())]),
            }
    return {"http": {"routers": routers, "middlewares": middlewares, "services": services}}


def weights_config(environment: Environment, weights: Mapping[Colour, int]) -> Config:
    """The users' route into an environment, split by weight; before the first release nobody is served (503)."""
    split = [
        {"name": service_name(colour, Stratum.USER), "weight": weights.get(colour, 0)}
        for colour in COLOURS[environment]
    ]
    return {
        "http": {
            "routers": {
                split_name(environment): {
                    "entryPoints": [environment.value],
                    "rule": "PathPrefix(`/`)",
                    "middlewares": ["mark-user", "whole-request"],
                    "service": split_name(environment),
                }
            },
            "services": {split_name(environment): {"weighted": {"services": split}}},
        }
    }


def _balancer(urls: Sequence[str]) -> Config:
    # No health check: with one, an environment whose replicas all fail is answered by Traefik itself, and uncounted.
    return {"loadBalancer": {"serversTransport": "replica", "servers": [{"url": url} for url in urls]}}

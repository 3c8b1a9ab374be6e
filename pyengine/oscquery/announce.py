"""Tells tools where an engine is: DNS-SD over multicast DNS, on the interfaces that it is bound to, with zeroconf."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from ipaddress import ip_address
from typing import Any

logger = logging.getLogger(__name__)

JSON, UDP, TCP = "_oscjson._tcp.local.", "_osc._udp.local.", "_osc._tcp.local."
TEXT = {"txtvers": "1"}
ANY = "0.0.0.0"
TAKEN_MS = 1500  # to hear that a name is taken
MOST_NAMES = 20  # of one machine and port


def addresses_of(host: str) -> list[str]:
    """Return the IPv4 addresses that a server bound to a host is reached at: those of all interfaces for 0.0.0.0, of
    the loopback alone only where there is no other.
    """
    if host != ANY:
        return [socket.gethostbyname(host)]
    import ifaddr  # zeroconf's own

    found = [str(ip.ip) for adapter in ifaddr.get_adapters() for ip in adapter.ips if isinstance(ip.ip, str)]
    return [address for address in found if not ip_address(address).is_loopback] or found


def _machine() -> str:
    own = re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname().partition(".")[0]).strip("-")
    return own[:30] or "host"


def host_name(port: int) -> str:
    """Return the name that the addresses are announced under."""
    return f"pyengine-{_machine().lower()}-{port}.local"


def service_name(name: str, port: int) -> str:
    """Return the name that tools show: with machine and port, so that no two engines begin with the same one."""
    return f"{name} {_machine()} {port}"


class Announcer:
    """What is announced, until it is withdrawn. ports: by type of service; the name is another where it is taken."""

    def __init__(self, name: str, host: str, ports: dict[str, int]) -> None:
        self.name = service_name(name, ports[JSON])
        self.host_name = host_name(ports[JSON])
        self._host, self._ports = host, ports
        self._zeroconf: Any = None

    async def start(self) -> None:
        """Announce. What prevents it is logged: tools are then told the address by hand."""
        try:
            await self._start()
        except Exception as error:  # of sockets, interfaces, names: whatever the network has
            logger.warning("the engine cannot be announced by mDNS: %r; give tools its address", error)

    async def _start(self) -> None:
        from zeroconf import IPVersion
        from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

        addresses = addresses_of(self._host)
        self._zeroconf = AsyncZeroconf(interfaces=addresses, ip_version=IPVersion.V4Only)
        packed = [socket.inet_aton(address) for address in addresses]
        name = await self._free_name()
        services = [
            AsyncServiceInfo(
                kind, f"{name}.{kind}", addresses=packed, port=port, properties=TEXT, server=f"{self.host_name}."
            )
            for kind, port in self._ports.items()
        ]
        register = self._zeroconf.async_register_service
        await asyncio.gather(*(register(service, allow_name_change=True) for service in services))
        self.name = str(services[0].name).removesuffix(f".{services[0].type}")
        logger.info("announced name=%s addresses=%s", self.name, ",".join(addresses))

    async def _free_name(self) -> str:
        """Return our name, or with a number behind where somebody has it. The library looks too, but for half a second
        only, and whoever has just announced himself may take one to answer.
        """
        from zeroconf import DNSQuestionType
        from zeroconf.asyncio import AsyncServiceInfo

        name = self.name
        for number in range(2, MOST_NAMES):
            asked = [AsyncServiceInfo(kind, f"{name}.{kind}") for kind in self._ports]
            questions = (one.async_request(self._zeroconf.zeroconf, TAKEN_MS, DNSQuestionType.QM) for one in asked)
            if not any(await asyncio.gather(*questions)):
                break
            name = f"{self.name}-{number}"
        return name

    async def close(self) -> None:
        """Withdraw it all; a second call does no harm."""
        zeroconf, self._zeroconf = self._zeroconf, None
        if zeroconf is not None:
            await zeroconf.async_unregister_all_services()
            await zeroconf.async_close()

"""The systemd unit that `quickstart` writes; etc/mailstack.service is the same with the usual paths."""

from __future__ import annotations

from pathlib import Path

USUAL_DATA = Path("/var/lib/mailstack")
HOMES = tuple(Path(home) for home in ("/home", "/root", "/run/user"))
_UNIT = """\
[Unit]
Description=mailstack, a mail system
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
ExecStart={program} serve --config {config}
ExecReload=/bin/kill -HUP $MAINPID
User={user}
UMask=0077
LimitNOFILE=65536
Restart=on-failure
# Transactions in flight get 30 seconds to end.
TimeoutStopSec=45

{state}
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome={homes}
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources

[Install]
WantedBy=multi-user.target
"""


def unit(program: str, config: Path, data: Path, user: str) -> str:
    """The text of mailstack.service. Where the program, its configuration or the data lie in somebody's
    home, the service may look there."""
    places = (Path(program.split()[0]), config, data)
    at_home = any(place.is_relative_to(home) for place in places for home in HOMES)
    state = "StateDirectory=mailstack\nStateDirectoryMode=0700\n" if data == USUAL_DATA else ""
    return _UNIT.format(
        program=program,
        config=config,
        user=user,
        state=f"{state}ReadWritePaths={data}",
        homes="no" if at_home else "yes",
    )

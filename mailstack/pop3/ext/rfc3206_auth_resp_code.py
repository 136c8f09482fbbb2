"""AUTH-RESP-CODE: the codes AUTH, SYS/TEMP and SYS/PERM (RFC 3206). Where they are said is in `replies.refused`."""

from __future__ import annotations

from mailstack.pop3.registry import Extension, always

AUTH_RESP_CODE = Extension(always("AUTH-RESP-CODE"))

"""Every feature of the server: the one tuple that commands and capabilities come from."""

from __future__ import annotations

from collections.abc import Mapping

from mailstack.imap.core import any_state, append, copy, fetch, login, mailboxes, search, selected, store
from mailstack.imap.ext import (
    rfc2177_idle,
    rfc2342_namespace,
    rfc2971_id,
    rfc3691_unselect,
    rfc4314_acl,
    rfc4315_uidplus,
    rfc5161_enable,
    rfc5255_language,
    rfc5256_sort,
    rfc5256_thread,
    rfc5258_list,
    rfc5267_context,
    rfc5464_metadata,
    rfc5465_notify,
    rfc5957_sort_display,
    rfc6851_move,
    rfc8440_list_myrights,
    rfc8474_objectid,
    rfc8514_savedate,
    rfc8970_preview,
    rfc9208_quota,
    rfc9590_list_metadata,
)  # fmt: skip
from mailstack.imap.registry import Capability, Enable, Feature, FetchModifier, FetchWord, Row, StatusItem
from mailstack.imap.wire.search_grammar import Vocabulary

FEATURES: tuple[Feature, ...] = (
    any_state.FEATURE,
    login.FEATURE,
    mailboxes.FEATURE,
    append.FEATURE,
    selected.FEATURE,
    fetch.FEATURE,
    search.FEATURE,
    store.FEATURE,
    copy.FEATURE,
    rfc2177_idle.FEATURE,
    rfc2342_namespace.FEATURE,
    rfc2971_id.FEATURE,
    rfc3691_unselect.FEATURE,
    rfc4314_acl.FEATURE,
    rfc4315_uidplus.FEATURE,
    rfc5161_enable.FEATURE,
    rfc5255_language.FEATURE,
    rfc5256_sort.FEATURE,
    rfc5256_thread.FEATURE,
    rfc5258_list.FEATURE,
    rfc5267_context.FEATURE,
    rfc5464_metadata.FEATURE,
    rfc5465_notify.FEATURE,
    rfc5957_sort_display.FEATURE,
    rfc6851_move.FEATURE,
    rfc8440_list_myrights.FEATURE,
    rfc8474_objectid.FEATURE,
    rfc8514_savedate.FEATURE,
    rfc8970_preview.FEATURE,
    rfc9208_quota.FEATURE,
    rfc9590_list_metadata.FEATURE,
)
TABLE: Mapping[bytes, Row] = {row.name: row for feature in FEATURES for row in feature.commands}
CAPABILITIES: tuple[Capability, ...] = tuple(word for feature in FEATURES for word in feature.capabilities)
ENABLES: Mapping[str, Enable] = {row.name.upper(): row for feature in FEATURES for row in feature.enables}
FETCH_ITEMS: Mapping[bytes, FetchWord] = {row.name: row for feature in FEATURES for row in feature.fetch_items}
FETCH_MODIFIERS: Mapping[bytes, FetchModifier] = {
    row.name: row for feature in FEATURES for row in feature.fetch_modifiers
}
STATUS_ITEMS: Mapping[str, StatusItem] = {row.name: row for feature in FEATURES for row in feature.status_items}
SEARCH_WORDS = Vocabulary(
    keys={word: rule for feature in FEATURES for word, rule in feature.search_keys.items()},
    prefixes={word: rule for feature in FEATURES for word, rule in feature.search_prefixes.items()},
    returns={word: rule for feature in FEATURES for word, rule in feature.search_returns.items()},
)
SEARCH_DATA = tuple(data for feature in FEATURES for data in feature.search_data)

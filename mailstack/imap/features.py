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
    rfc4467_urlauth,
    rfc4978_compress,
    rfc5032_within,
    rfc5161_enable,
    rfc5255_i18nlevel,
    rfc5255_language,
    rfc5256_sort,
    rfc5256_thread,
    rfc5258_list,
    rfc5267_context,
    rfc5464_metadata,
    rfc5465_notify,
    rfc5466_filters,
    rfc5957_sort_display,
    rfc6203_fuzzy,
    rfc6851_move,
    rfc6855_utf8,
    rfc7162_condstore,
    rfc7162_qresync,
    rfc7377_multisearch,
    rfc8437_unauthenticate,
    rfc8440_list_myrights,
    rfc8474_objectid,
    rfc8508_replace,
    rfc8514_savedate,
    rfc8970_preview,
    rfc9208_quota,
    rfc9394_partial,
    rfc9585_inprogress,
    rfc9586_uidonly,
    rfc9590_list_metadata,
    rfc9738_messagelimit,
    rfc10022_uidbatches,
)  # fmt: skip
from mailstack.imap.registry import (
    Capability,
    Enable,
    Feature,
    FetchModifier,
    FetchWord,
    Row,
    SelectParameter,
    StatusItem,
    StoreModifier,
    StreamedRow,
)  # fmt: skip
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
    rfc9394_partial.FEATURE,  # its FETCH modifier comes before those that choose among what it leaves (RFC 9394 §3.4)
    rfc2177_idle.FEATURE,
    rfc2342_namespace.FEATURE,
    rfc2971_id.FEATURE,
    rfc3691_unselect.FEATURE,
    rfc4314_acl.FEATURE,
    rfc4315_uidplus.FEATURE,
    rfc4467_urlauth.FEATURE,
    rfc4978_compress.FEATURE,
    rfc5032_within.FEATURE,
    rfc5161_enable.FEATURE,
    rfc5255_language.FEATURE,
    rfc5255_i18nlevel.FEATURE,
    rfc5256_sort.FEATURE,
    rfc5256_thread.FEATURE,
    rfc5258_list.FEATURE,
    rfc5267_context.FEATURE,
    rfc5464_metadata.FEATURE,
    rfc5465_notify.FEATURE,
    rfc5466_filters.FEATURE,
    rfc6203_fuzzy.FEATURE,
    rfc5957_sort_display.FEATURE,
    rfc6851_move.FEATURE,
    rfc6855_utf8.FEATURE,
    rfc7162_condstore.FEATURE,
    rfc7162_qresync.FEATURE,
    rfc8437_unauthenticate.FEATURE,
    rfc8440_list_myrights.FEATURE,
    rfc7377_multisearch.FEATURE,
    rfc8474_objectid.FEATURE,
    rfc8508_replace.FEATURE,
    rfc8514_savedate.FEATURE,
    rfc8970_preview.FEATURE,
    rfc9208_quota.FEATURE,
    rfc9585_inprogress.FEATURE,
    rfc9586_uidonly.FEATURE,
    rfc9590_list_metadata.FEATURE,
    rfc9738_messagelimit.FEATURE,
    rfc10022_uidbatches.FEATURE,
)
TABLE: Mapping[bytes, Row | StreamedRow] = {row.name: row for feature in FEATURES for row in feature.commands}
CAPABILITIES: tuple[Capability, ...] = tuple(word for feature in FEATURES for word in feature.capabilities)
GUARDS = tuple(guard for feature in FEATURES for guard in feature.guards)
ENABLES: Mapping[str, Enable] = {row.name.upper(): row for feature in FEATURES for row in feature.enables}
FETCH_ITEMS: Mapping[bytes, FetchWord] = {row.name: row for feature in FEATURES for row in feature.fetch_items}
FETCH_MODIFIERS: Mapping[bytes, FetchModifier] = {
    row.name: row for feature in FEATURES for row in feature.fetch_modifiers
}
STATUS_ITEMS: Mapping[str, StatusItem] = {row.name: row for feature in FEATURES for row in feature.status_items}
SELECT_PARAMETERS: Mapping[bytes, SelectParameter] = {
    row.name: row for feature in FEATURES for row in feature.select_parameters
}
STORE_MODIFIERS: Mapping[bytes, StoreModifier] = {
    row.name: row for feature in FEATURES for row in feature.store_modifiers
}
SEARCH_WORDS = Vocabulary(
    keys={word: rule for feature in FEATURES for word, rule in feature.search_keys.items()},
    prefixes={word: rule for feature in FEATURES for word, rule in feature.search_prefixes.items()},
    returns={word: rule for feature in FEATURES for word, rule in feature.search_returns.items()},
)
SEARCH_PREPARATIONS = tuple(each for feature in FEATURES for each in feature.search_preparations)
SEARCH_DATA = tuple(data for feature in FEATURES for data in feature.search_data)
ANNOTATION_CHECKS = tuple(check for feature in FEATURES for check in feature.annotation_checks)

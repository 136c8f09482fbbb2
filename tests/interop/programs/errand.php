<?php
// The errand of README.md with PHP's imap extension, which is UW-IMAP's c-client.
[, $port, $user, $file] = $argv;
$server = "{127.0.0.1:$port/imap/notls}";

function say(...$words) { echo implode("\t", $words), "\n"; }

function check($result, $what)
{
    if ($result === false) {
        throw new Exception("$what: " . imap_last_error());
    }
    return $result;
}

$imap = check(imap_open($server . 'INBOX', $user, 'secret', 0, 1), 'imap_open');
foreach (check(imap_list($imap, $server, '*'), 'imap_list') as $name) {
    say('mailbox', substr($name, strlen($server)));
}
foreach (check(imap_fetch_overview($imap, '1:*', FT_UID), 'imap_fetch_overview') as $message) {
    $octets = imap_fetchbody($imap, $message->uid, '', FT_UID | FT_PEEK);
    $size = strlen($octets);
    if ($message->size !== $size) {
        throw new Exception("size $message->size of UID $message->uid, but $size octets");
    }
    $flags = [];
    foreach (['seen', 'answered', 'flagged', 'draft', 'deleted'] as $name) {
        if ($message->$name) {
            $flags[] = "\\$name";
        }
    }
    say('message', $message->uid, implode(' ', $flags), bin2hex($octets));
}
say('found', ...check(imap_search($imap, 'SUBJECT "letter 3" UNKEYWORD nothing', SE_UID), 'imap_search'));

// imap_utf7_encode() does not make modified UTF-7 of more than ASCII
$new = 'Entw&APw-rfe/Neue &- alte';
check(imap_createmailbox($imap, $server . $new), 'imap_createmailbox');
$octets = file_get_contents($file);
check(imap_append($imap, $server . $new, $octets, '\Draft $Errand', '29-Feb-2020 12:34:56 +0530'), 'imap_append');
check(imap_setflag_full($imap, '1', '\Flagged', ST_UID), 'imap_setflag_full');
check(imap_clearflag_full($imap, '2', '\Seen', ST_UID), 'imap_clearflag_full');
check(imap_setflag_full($imap, '3', '$Errand', ST_UID), 'imap_setflag_full');
check(imap_setflag_full($imap, '4', '\Answered', ST_UID), 'imap_setflag_full');
check(imap_mail_copy($imap, '3,4', $new, CP_UID), 'imap_mail_copy');
check(imap_mail_move($imap, '5', $new, CP_UID), 'imap_mail_move');
check(imap_delete($imap, '6', FT_UID), 'imap_delete');
check(imap_expunge($imap), 'imap_expunge');
check(imap_close($imap), 'imap_close');
say('done');
